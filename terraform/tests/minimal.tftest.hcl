# What a deployment is that was given a project and nothing else. Nothing is made and nobody is asked: the providers are
# mocks, but for the archive, which is made as ever.

mock_provider "google" {
  override_data {
    target = data.google_project.this
    values = { number = "123456789012" }
  }
}
mock_provider "google-beta" {}
mock_provider "random" {}

variables {
  project_id = "my-project"
}

run "one_function_serves_all_and_costs_nothing_while_idle" {
  command = plan

  assert {
    condition     = keys(google_cloudfunctions2_function.this) == ["api", "dead-letter", "sweep"]
    error_message = "The API must be one function."
  }
  assert {
    condition     = google_cloudfunctions2_function.this["api"].service_config[0].min_instance_count == 0
    error_message = "No instance may be kept warm."
  }
  assert {
    condition = length(concat(
      google_compute_global_address.api[*], google_compute_global_forwarding_rule.https[*],
      google_compute_global_forwarding_rule.http[*], google_compute_security_policy.api[*],
    )) == 0
    error_message = "A load balancer has a price by the hour."
  }
  assert {
    condition     = alltrue([for scaler in google_compute_region_autoscaler.pool : scaler.autoscaling_policy[0].min_replicas == 0])
    error_message = "No VM may run while there is no job."
  }
  assert {
    condition     = length(google_billing_budget.monthly) == 0 && length(google_cloudbuild_trigger.deploy) == 0
    error_message = "A budget and a trigger are only for whoever asks for them."
  }
}

run "nobody_may_call_it" {
  command = plan

  assert {
    condition     = length(google_cloud_run_v2_service_iam_member.invoker) == 0
    error_message = "Only those who are named may call the API."
  }
  assert {
    condition     = length(google_secret_manager_secret.nonce) == 1
    error_message = "Requests to the executor API must carry a secret."
  }
  assert {
    condition     = keys(google_secret_manager_secret_iam_member.deployer) == [] && google_secret_manager_secret_iam_member.nonce[0].secret_id == "cloud-executor-nonce"
    error_message = "Nobody reads the pepper of tokens, and only the API the secret."
  }
  assert {
    condition     = google_storage_bucket.blobs.public_access_prevention == "enforced" && google_storage_bucket.source.public_access_prevention == "enforced"
    error_message = "No bucket may ever be public."
  }
  assert {
    condition     = length(google_compute_region_instance_template.pool["default"].network_interface[0].access_config) == 0
    error_message = "A worker has no public address."
  }
}

run "data_outlives_the_deployment" {
  command = plan

  assert {
    condition     = !google_storage_bucket.blobs.force_destroy && google_storage_bucket.blobs.soft_delete_policy[0].retention_duration_seconds == 604800
    error_message = "A bucket that holds blobs must not go, and what is deleted must be retained for a week."
  }
  assert {
    condition     = google_firestore_database.jobs.deletion_policy == "ABANDON" && google_firestore_database.jobs.delete_protection_state == "DELETE_PROTECTION_ENABLED"
    error_message = "The database must be let be."
  }
  assert {
    condition     = google_secret_manager_secret.pepper.deletion_protection && google_secret_manager_secret_version.pepper.deletion_policy == "ABANDON"
    error_message = "The pepper of tokens must stay as long as the database that holds them."
  }
}

run "data_goes_where_that_is_asked_for" {
  command = plan
  variables {
    delete_protection = false
  }

  assert {
    condition = (
      google_storage_bucket.blobs.force_destroy && google_firestore_database.jobs.deletion_policy == "DELETE" &&
      !google_secret_manager_secret.pepper.deletion_protection && google_secret_manager_secret_version.pepper.deletion_policy == "DELETE"
    )
    error_message = "Nothing is left of a deployment whose data may go."
  }
}

run "functions_and_workers_know_the_pool" {
  command = plan

  assert {
    condition = jsondecode(local.function_settings.EXECUTOR_POOLS) == [{
      name        = "default"
      labels      = []
      slots       = 4
      image       = "mirror.gcr.io/library/python:3.12"
      images      = []
      network     = "bridge"
      maxTimeout  = 86400
      idleMinutes = 10
      minWorkers  = 0
    }]
    error_message = "A pool that says nothing leaves the limits of jobs to the code."
  }
  assert {
    condition     = keys(google_pubsub_subscription.pool) == ["default"] && google_pubsub_subscription.pool["default"].name == "cloud-executor-default"
    error_message = "Topic and subscription of a pool are the prefix and the pool's name."
  }
}

run "those_who_are_named_may_call_it" {
  command = plan
  variables {
    invokers = ["user:jane@example.com"]
  }

  assert {
    condition     = keys(google_cloud_run_v2_service_iam_member.invoker) == ["api/user:jane@example.com"]
    error_message = "Whoever is named may call the API, and nobody else."
  }
}

run "everybody_may_call_it_if_that_is_asked_for" {
  command = plan
  variables {
    allow_unauthenticated = true
  }

  assert {
    condition     = keys(google_cloud_run_v2_service_iam_member.invoker) == ["api/allUsers"]
    error_message = "It was asked for."
  }
}
