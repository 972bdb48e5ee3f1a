# A deployment with only a project. The providers are mocks, so nothing is created and no API is called.

mock_provider "google" {
  override_data {
    target = data.google_storage_project_service_account.this
    values = { member = "serviceAccount:service-123456789012@gs-project-accounts.iam.gserviceaccount.com" }
  }
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

run "defaults" {
  command = plan

  # Cost while idle

  assert {
    condition     = local.services == toset(["api"]) && keys(google_cloud_run_v2_service.this) == ["api", "dead-letter", "sweep"]
    error_message = "A single function must serve the API."
  }
  assert {
    condition     = google_cloud_run_v2_service.this["api"].template[0].scaling[0].min_instance_count == 0
    error_message = "No function instance must be kept warm."
  }
  assert {
    condition = length(concat(
      google_compute_global_address.api[*], google_compute_global_forwarding_rule.https[*],
      google_compute_global_forwarding_rule.http[*], google_compute_security_policy.api[*],
    )) == 0
    error_message = "There must be no load balancer, because it has an hourly price."
  }
  assert {
    condition     = alltrue([for scaler in google_compute_region_autoscaler.pool : scaler.autoscaling_policy[0].min_replicas == 0])
    error_message = "An idle deployment must run no VM."
  }
  assert {
    condition     = length(google_billing_budget.monthly) == 0 && length(google_cloudbuild_trigger.deploy) == 0
    error_message = "The budget and the trigger must be optional."
  }

  # Access

  assert {
    condition     = length(google_cloud_run_v2_service_iam_member.invoker) == 0
    error_message = "Nobody must be able to call the API unless listed in invokers."
  }
  assert {
    condition     = length(google_secret_manager_secret.nonce) == 1
    error_message = "Requests to the executor API must carry a secret."
  }
  assert {
    condition     = keys(google_secret_manager_secret_iam_member.deployer) == [] && google_secret_manager_secret_iam_member.nonce[0].secret_id == "cloud-executor-nonce"
    error_message = "Only the API must have access to the shared secret, and no account to the token pepper."
  }
  assert {
    condition     = google_storage_bucket.blobs.public_access_prevention == "enforced"
    error_message = "Public access to the buckets must be prevented."
  }
  assert {
    condition     = length(google_compute_region_instance_template.pool["default"].network_interface[0].access_config) == 0
    error_message = "A worker must not have a public address."
  }

  assert {
    condition     = local.access_settings == { EXECUTOR_AUTH = "open", EXECUTOR_ALLOW_OPEN = "yes", EXECUTOR_PROXIES = "1" }
    error_message = "Without other methods, Cloud Run's check and the shared secret must protect the API."
  }

  # Data that outlives the deployment

  assert {
    condition     = !google_storage_bucket.blobs.force_destroy && google_storage_bucket.blobs.soft_delete_policy[0].retention_duration_seconds == 604800
    error_message = "A bucket that contains blobs must not be deleted, and it must retain deleted objects for a week."
  }
  assert {
    condition     = google_firestore_database.jobs.deletion_policy == "ABANDON" && google_firestore_database.jobs.delete_protection_state == "DELETE_PROTECTION_ENABLED"
    error_message = "The database must not be deleted."
  }
  assert {
    condition     = google_secret_manager_secret.pepper.deletion_protection && google_secret_manager_secret_version.pepper.deletion_policy == "ABANDON"
    error_message = "The token pepper must not be deleted, because the database contains hashes made with it."
  }

  # Pools

  assert {
    condition = jsondecode(local.function_settings.EXECUTOR_POOLS) == [{
      name        = "default"
      labels      = []
      slots       = 4
      image       = "mirror.gcr.io/library/python:3.12"
      images      = []
      network     = "none"
      maxTimeout  = 86400
      idleMinutes = 15
      minWorkers  = 0
    }]
    error_message = "The settings must omit job limits that the pool does not set."
  }
  assert {
    condition     = keys(google_pubsub_subscription.pool) == ["default"] && google_pubsub_subscription.pool["default"].name == "cloud-executor-default"
    error_message = "The names of a pool's topic and subscription must be the prefix and the pool's name."
  }
}

run "listed_callers_and_deletable_data" {
  command = plan
  variables {
    invokers          = ["user:jane@example.com"]
    auth_methods      = ["open", "token"]
    admin_token       = false
    delete_protection = false
    pools = {
      own    = { subnetwork = "workers", job_network = "bridge", job_egress = ["203.0.113.0/24", "192.0.2.1/32"] }
      none   = { job_network = "bridge", job_egress = [] }
      shared = { subnetwork = "projects/host-project/regions/us-central1/subnetworks/workers" }
    }
  }

  assert {
    condition = (
      length(google_secret_manager_secret.admin_token) == 0 && output.admin_token_command == null &&
      !contains([for env in google_cloud_run_v2_service.this["api"].template[0].containers[0].env : env.name], "EXECUTOR_ADMIN_TOKEN")
    )
    error_message = "The administrator's token must be optional."
  }
  assert {
    condition     = keys(google_cloud_run_v2_service_iam_member.invoker) == ["api/user:jane@example.com"]
    error_message = "Only the callers in invokers must be able to call the API."
  }
  assert {
    condition = (
      google_storage_bucket.blobs.force_destroy && google_firestore_database.jobs.deletion_policy == "DELETE" &&
      !google_secret_manager_secret.pepper.deletion_protection && google_secret_manager_secret_version.pepper.deletion_policy == "DELETE"
    )
    error_message = "Without delete_protection, all data must be deletable."
  }
  assert {
    condition     = local.job_egress == { own = "203.0.113.0/24 192.0.2.1/32", none = "", shared = "0.0.0.0/0" }
    error_message = "The VMs' firewall must let jobs connect to the ranges of their pool, or to everything if it has none."
  }
  assert {
    condition     = keys(google_compute_firewall.own_health_checks) == ["own"] && google_compute_firewall.own_health_checks["own"].source_ranges == toset(["130.211.0.0/22", "35.191.0.0/16"])
    error_message = "Google's health checks must reach the workers in a subnetwork of the project."
  }
  assert {
    condition     = length(google_compute_region_instance_group_manager.pool["own"].auto_healing_policies) == 1 && length(google_compute_region_instance_group_manager.pool["shared"].auto_healing_policies) == 0
    error_message = "A group whose VMs cannot be checked must not replace them."
  }
}

run "unauthenticated_callers_with_tokens_and_accounts" {
  command = plan
  variables {
    allow_unauthenticated = true
    require_nonce         = false
    auth_methods          = ["google", "token"]
    users                 = ["domain:example.com"]
    admins                = ["jane@example.com"]
  }

  assert {
    condition     = google_cloud_run_v2_service.this["api"].invoker_iam_disabled && !google_cloud_run_v2_service.this["sweep"].invoker_iam_disabled
    error_message = "With allow_unauthenticated, everyone must be able to call the API, and only the API."
  }
  assert {
    condition = {
      for env in google_cloud_run_v2_service.this["api"].template[0].containers[0].env : env.name => env.value
      if contains(["EXECUTOR_AUTH", "EXECUTOR_ALLOW_OPEN", "EXECUTOR_USERS", "EXECUTOR_ADMINS", "EXECUTOR_GOOGLE_AUDIENCES", "EXECUTOR_PROXIES"], env.name)
      } == {
      EXECUTOR_AUTH             = "google,token"
      EXECUTOR_USERS            = "domain:example.com"
      EXECUTOR_ADMINS           = "jane@example.com"
      EXECUTOR_GOOGLE_AUDIENCES = "https://cloud-executor-api-123456789012.us-central1.run.app"
      EXECUTOR_PROXIES          = "1"
    }
    error_message = "The API must identify callers by the methods, and must not be open."
  }
  assert {
    condition = [
      for env in google_cloud_run_v2_service.this["api"].template[0].containers[0].env : env.value_source[0].secret_key_ref[0]
      if env.name == "EXECUTOR_TOKEN_PEPPER"
    ] == [{ secret = "cloud-executor-token-pepper", version = "1" }]
    error_message = "The API must get the first version of the token pepper."
  }
  assert {
    condition     = keys(google_secret_manager_secret_iam_member.pepper) == ["api"] && !contains([for env in google_cloud_run_v2_service.this["sweep"].template[0].containers[0].env : env.name], "EXECUTOR_TOKEN_PEPPER")
    error_message = "Only the API must get the token pepper."
  }
  assert {
    condition = [
      for env in google_cloud_run_v2_service.this["api"].template[0].containers[0].env : env.value_source[0].secret_key_ref[0].secret
      if env.name == "EXECUTOR_ADMIN_TOKEN"
    ] == ["cloud-executor-admin-token"] && keys(google_secret_manager_secret_iam_member.admin_token) == ["api"]
    error_message = "The API must get the administrator's token."
  }
  assert {
    condition     = !contains([for env in google_cloud_run_v2_service.this["sweep"].template[0].containers[0].env : env.name], "EXECUTOR_ADMIN_TOKEN")
    error_message = "Only the API must get the administrator's token."
  }
  assert {
    condition     = output.admin_token_command == "gcloud secrets versions access latest --project=my-project --secret=cloud-executor-admin-token"
    error_message = "The operator must learn how to read the administrator's token."
  }
  assert {
    condition     = output.audience == "https://cloud-executor-api-123456789012.us-central1.run.app" && output.iap_audiences == []
    error_message = "Callers must send tokens with an audience that the API accepts."
  }
}

run "accounts_of_identity_aware_proxy" {
  command = plan
  variables {
    iap          = {}
    auth_methods = ["google"]
    users        = ["domain:example.com"]
  }

  assert {
    condition = contains(
      split(",", local.access_settings.EXECUTOR_GOOGLE_AUDIENCES),
      "/projects/123456789012/locations/us-central1/services/cloud-executor-api",
    )
    error_message = "The API must accept the assertions of Identity-Aware Proxy."
  }
}
