# A deployment with a domain and more than one pool. The providers are mocks: nothing is made and nobody is asked.

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
  region     = "europe-west4"
  domain     = "jobs.example.com"
  invokers   = ["group:lab@example.com"]
  pools = {
    default = { labels = ["linux"] }
    gpu = {
      order            = -1
      labels           = ["gpu"]
      machine_type     = "n1-standard-8"
      accelerator_type = "nvidia-tesla-t4"
      zones            = ["europe-west4-b"]
      slots            = 1
      job_cpus         = 8
      job_memory_mib   = 16384
    }
    spot = { spot = true, max_workers = 200 }
  }
}

run "two_functions_stand_behind_the_load_balancer" {
  command = plan

  assert {
    condition     = keys(google_cloudfunctions2_function.this) == ["blob", "dead-letter", "executor", "sweep"]
    error_message = "Blobs and jobs have a function each."
  }
  assert {
    condition     = alltrue([for service in local.services : google_cloudfunctions2_function.this[service].service_config[0].ingress_settings == "ALLOW_INTERNAL_AND_GCLB"])
    error_message = "Nobody may go around the load balancer."
  }
  assert {
    condition     = google_compute_url_map.api[0].path_matcher[0].path_rule[0].paths == toset(["/rest/blob", "/rest/blob/*"])
    error_message = "What is asked of blobs goes to their function, and all else to the other."
  }
  assert {
    condition     = google_compute_managed_ssl_certificate.api[0].managed[0].domains == tolist(["jobs.example.com"])
    error_message = "The certificate is for the domain."
  }
  assert {
    condition     = google_compute_ssl_policy.api[0].min_tls_version == "TLS_1_2" && google_compute_url_map.redirect[0].default_url_redirect[0].https_redirect
    error_message = "Nothing is served without TLS 1.2."
  }
  assert {
    condition     = google_storage_bucket.blobs.cors[0].origin == tolist(["https://jobs.example.com"])
    error_message = "The dashboard sends to the bucket and reads from it."
  }
}

run "each_function_has_an_account_of_its_own" {
  command = plan

  assert {
    condition     = length(distinct([for account in google_service_account.this : account.account_id])) == length(local.accounts)
    error_message = "No two may share an account."
  }
  assert {
    condition = (
      google_storage_bucket_iam_member.this["blob/blobs"].role == "roles/storage.objectUser" &&
      !contains(keys(google_storage_bucket_iam_member.this), "executor/blobs")
    )
    error_message = "Only the function for blobs reads and writes them."
  }
  assert {
    condition     = length(google_cloudfunctions2_function.this["blob"].service_config[0].secret_environment_variables) == 0
    error_message = "The function for blobs needs no secret."
  }
}

run "pools_are_told_in_their_order" {
  command = plan

  assert {
    condition     = [for pool in jsondecode(local.function_settings.EXECUTOR_POOLS) : pool.name] == ["gpu", "default", "spot"]
    error_message = "A job goes to the first pool that has its labels."
  }
  assert {
    condition     = jsondecode(local.function_settings.EXECUTOR_POOLS)[0].cpus == 8 && jsondecode(local.function_settings.EXECUTOR_POOLS)[0].memoryMiB == 16384
    error_message = "What a pool says of the limits of its jobs is told."
  }
  assert {
    condition     = [for pool in jsondecode(local.function_settings.EXECUTOR_POOLS) : try(pool.gpus, 0)] == [1, 0, 0]
    error_message = "Workers are told of their machines' GPUs, where there are any."
  }
}

run "pools_differ_in_their_machines" {
  command = plan

  assert {
    condition     = google_compute_region_instance_template.pool["gpu"].guest_accelerator[0].type == "nvidia-tesla-t4" && google_compute_region_instance_template.pool["gpu"].scheduling[0].on_host_maintenance == "TERMINATE"
    error_message = "A VM with a GPU cannot migrate."
  }
  assert {
    condition     = google_compute_region_instance_template.pool["spot"].scheduling[0].provisioning_model == "SPOT" && !google_compute_region_instance_template.pool["spot"].scheduling[0].automatic_restart
    error_message = "A spot VM is not restarted."
  }
  assert {
    condition     = google_compute_region_instance_group_manager.pool["gpu"].distribution_policy_zones == toset(["europe-west4-b"])
    error_message = "VMs are made only where their GPUs are."
  }
  assert {
    condition     = google_compute_region_autoscaler.pool["gpu"].autoscaling_policy[0].metric[0].single_instance_assignment == 1 && google_compute_region_autoscaler.pool["spot"].autoscaling_policy[0].max_replicas == 200
    error_message = "A pool grows by its own slots, to its own maximum."
  }
}

run "a_push_deploys_where_that_is_asked_for" {
  command = plan
  variables {
    build = {
      repository   = "projects/my-project/locations/europe-west4/connections/github/repositories/r"
      state_bucket = "my-state"
    }
  }

  assert {
    condition     = google_cloudbuild_trigger.deploy[0].approval_config[0].approval_required && google_cloudbuild_trigger.deploy[0].filename == "cloudbuild.yaml"
    error_message = "A person approves a deployment."
  }
  assert {
    condition     = keys(google_secret_manager_secret_iam_member.deployer) == ["nonce/secretAccessor", "nonce/viewer", "pepper/secretAccessor", "pepper/viewer"]
    error_message = "Terraform compares both secrets with its state."
  }
}

run "people_sign_in_where_that_is_asked_for" {
  command = plan
  variables {
    iap = { client_id = "client", client_secret = "secret" }
  }

  assert {
    condition     = alltrue([for backend in google_compute_backend_service.api : backend.iap[0].enabled])
    error_message = "Identity-Aware Proxy stands before both functions."
  }
  assert {
    condition     = keys(google_iap_web_backend_service_iam_member.api) == ["blob/group:lab@example.com", "executor/group:lab@example.com"]
    error_message = "It lets through whoever may call the API."
  }
  assert {
    condition     = contains(keys(google_cloud_run_v2_service_iam_member.invoker), "executor/serviceAccount:service-123456789012@gcp-sa-iap.iam.gserviceaccount.com")
    error_message = "It calls the functions in its own name."
  }
  assert {
    condition     = strcontains(output.try_it, "--impersonate-service-account=\"$ACCOUNT\" --audiences=client --include-email)")
    error_message = "The commands to try it must pass the proxy."
  }
}

run "a_key_of_yours_encrypts_all_that_is_kept" {
  command = plan
  variables {
    kms_key = "projects/my-project/locations/europe-west4/keyRings/r/cryptoKeys/k"
  }

  assert {
    condition = alltrue(concat(
      [for bucket in [google_storage_bucket.blobs, google_storage_bucket.source] : bucket.encryption[0].default_kms_key_name == var.kms_key],
      [for topic in google_pubsub_topic.pool : topic.kms_key_name == var.kms_key],
      [for template in google_compute_region_instance_template.pool : template.disk[0].disk_encryption_key[0].kms_key_self_link == var.kms_key],
      [google_artifact_registry_repository.images.kms_key_name == var.kms_key, google_pubsub_topic.dead_letter.kms_key_name == var.kms_key],
    ))
    error_message = "Buckets, topics, images and disks are encrypted by the key that was named."
  }
  assert {
    condition     = keys(google_kms_crypto_key_iam_member.service_agents) == ["compute", "pubsub", "registry", "storage"]
    error_message = "Google's services must be able to use the key."
  }
}
