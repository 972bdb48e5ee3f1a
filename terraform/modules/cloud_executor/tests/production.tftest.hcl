# A deployment with a domain and three pools. The providers are mocks, so nothing is created and no API is called.

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
  keep_jobs_days = 90
  project_id     = "my-project"
  region         = "europe-west4"
  domain         = "jobs.example.com"
  invokers       = ["group:lab@example.com"]
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
    spot = { spot = true, max_workers = 200, standby = { size = 2 } }
  }
}

run "domain_and_pools" {
  command = plan

  # Load balancer

  assert {
    condition     = local.services == toset(["blob", "executor"]) && keys(google_cloud_run_v2_service.this) == ["blob", "dead-letter", "executor", "retention", "sweep"]
    error_message = "Blobs and jobs must each have their own function."
  }
  assert {
    condition     = alltrue([for service in local.services : google_cloud_run_v2_service.this[service].ingress == "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"])
    error_message = "The functions must not be reachable without the load balancer."
  }
  assert {
    condition     = [for rule in google_compute_url_map.api[0].path_matcher[0].route_rules[0].match_rules : try(coalesce(rule.full_path_match, rule.prefix_match), "") if rule.ignore_case] == ["/rest/blob", "/rest/blob/"]
    error_message = "Requests for blobs must go to the function blob, and all others to the function executor."
  }
  assert {
    condition     = google_compute_managed_ssl_certificate.api[0].managed[0].domains == tolist(["jobs.example.com"])
    error_message = "The certificate must be for the domain."
  }
  assert {
    condition     = google_compute_ssl_policy.api[0].min_tls_version == "TLS_1_2" && google_compute_url_map.redirect[0].default_url_redirect[0].https_redirect
    error_message = "Every request must use TLS 1.2 or newer."
  }
  assert {
    condition     = alltrue([for bucket in [google_storage_bucket.blobs, google_storage_bucket.staging] : bucket.cors[0].origin == tolist(["https://jobs.example.com"])])
    error_message = "The buckets must allow requests from pages of the domain, which upload to one and download from both."
  }

  # Accounts

  assert {
    condition     = length(distinct([for account in google_service_account.this : account.account_id])) == length(local.accounts)
    error_message = "Every account must have its own ID."
  }
  assert {
    condition = (
      google_storage_bucket_iam_member.this["blob/blobs"].role == "roles/storage.objectUser" &&
      !contains(keys(google_storage_bucket_iam_member.this), "executor/blobs")
    )
    error_message = "Of the two functions, only blob must have access to the bucket."
  }
  assert {
    condition     = !contains([for env in google_cloud_run_v2_service.this["blob"].template[0].containers[0].env : env.name], "EXECUTOR_NONCE")
    error_message = "The function blob must not get the shared secret if it needs no credentials."
  }

  # Pools

  assert {
    condition     = [for pool in jsondecode(local.function_settings.EXECUTOR_POOLS) : pool.name] == ["gpu", "default", "spot"]
    error_message = "The settings must list the pools by order, because a job goes to the first pool that has its labels."
  }
  assert {
    condition     = jsondecode(local.function_settings.EXECUTOR_POOLS)[0].cpus == 8 && jsondecode(local.function_settings.EXECUTOR_POOLS)[0].memoryMiB == 16384
    error_message = "The settings must contain the job limits of a pool."
  }
  assert {
    condition     = [for pool in jsondecode(local.function_settings.EXECUTOR_POOLS) : try(pool.gpus, 0)] == [1, 0, 0]
    error_message = "The settings must contain the number of GPUs of a pool's machines."
  }
  assert {
    condition     = google_compute_region_instance_template.pool["gpu"].guest_accelerator[0].type == "nvidia-tesla-t4" && google_compute_region_instance_template.pool["gpu"].scheduling[0].on_host_maintenance == "TERMINATE"
    error_message = "A VM with a GPU must terminate for host maintenance, because it cannot migrate."
  }
  assert {
    condition     = google_compute_region_instance_template.pool["spot"].scheduling[0].provisioning_model == "SPOT" && !google_compute_region_instance_template.pool["spot"].scheduling[0].automatic_restart
    error_message = "A spot VM must not restart automatically."
  }
  assert {
    condition     = google_compute_region_instance_group_manager.pool["gpu"].distribution_policy_zones == toset(["europe-west4-b"])
    error_message = "The pool's VMs must be created only in its zones."
  }
  assert {
    condition = (
      google_compute_region_instance_group_manager.pool["spot"].standby_policy[0].mode == "SCALE_OUT_POOL" &&
      [for group in google_compute_region_instance_group_manager.pool : group.target_suspended_size] == [0, 0, 2] &&
      alltrue([for group in google_compute_region_instance_group_manager.pool : group.target_stopped_size == 0])
    )
    error_message = "Only the pool with standby must keep suspended VMs."
  }
  assert {
    condition     = google_compute_region_autoscaler.pool["gpu"].autoscaling_policy[0].metric[0].single_instance_assignment == 1 && google_compute_region_autoscaler.pool["spot"].autoscaling_policy[0].max_replicas == 200
    error_message = "Each pool must scale by its own slots, up to its own max_workers."
  }
}

run "build_iap_kms_key_and_tokens" {
  command = plan
  variables {
    build = {
      repository   = "projects/my-project/locations/europe-west4/connections/github/repositories/r"
      state_bucket = "my-state"
    }
    iap          = { client_id = "client", client_secret = "secret" }
    kms_key      = "projects/my-project/locations/europe-west4/keyRings/r/cryptoKeys/k"
    auth_methods = ["token"]
    quotas       = { jobs_waiting = 50, bytes_stored = -1 }
  }

  # Continuous deployment

  assert {
    condition     = google_cloudbuild_trigger.deploy[0].approval_config[0].approval_required && google_cloudbuild_trigger.deploy[0].filename == "cloudbuild.yaml"
    error_message = "A person must approve each deployment."
  }
  assert {
    condition     = keys(google_secret_manager_secret_iam_member.deployer) == ["admin_token/secretAccessor", "admin_token/viewer", "nonce/secretAccessor", "nonce/viewer", "pepper/secretAccessor", "pepper/viewer"]
    error_message = "The account that deploys must be able to compare all secrets with Terraform's state."
  }

  # Identity-Aware Proxy

  assert {
    condition     = alltrue([for backend in google_compute_backend_service.api : backend.iap[0].enabled])
    error_message = "Identity-Aware Proxy must protect both functions."
  }
  assert {
    condition     = keys(google_iap_web_backend_service_iam_member.api) == ["blob/group:lab@example.com", "executor/group:lab@example.com"]
    error_message = "Identity-Aware Proxy must let the callers in invokers through."
  }
  assert {
    condition     = contains(keys(google_cloud_run_v2_service_iam_member.invoker), "executor/serviceAccount:service-123456789012@gcp-sa-iap.iam.gserviceaccount.com")
    error_message = "Identity-Aware Proxy's own account must be able to call the functions."
  }
  assert {
    condition     = strcontains(output.try_it, "--impersonate-service-account=\"$ACCOUNT\" --audiences=client --include-email)")
    error_message = "The commands in try_it must authenticate to Identity-Aware Proxy."
  }

  # Customer-managed encryption key

  assert {
    condition = alltrue(concat(
      [for bucket in [google_storage_bucket.blobs] : bucket.encryption[0].default_kms_key_name == var.kms_key],
      [for topic in google_pubsub_topic.pool : topic.kms_key_name == var.kms_key],
      [for template in google_compute_region_instance_template.pool : template.disk[0].disk_encryption_key[0].kms_key_self_link == var.kms_key],
      [google_artifact_registry_repository.images.kms_key_name == var.kms_key, google_pubsub_topic.dead_letter.kms_key_name == var.kms_key],
    ))
    error_message = "The key must encrypt buckets, topics, images, and disks."
  }
  assert {
    condition     = keys(google_kms_crypto_key_iam_member.service_agents) == ["compute", "pubsub", "registry", "storage"]
    error_message = "Google's services must be able to use the key."
  }

  # Tokens

  assert {
    condition = alltrue([
      for service in local.services : length(setsubtract(
        ["EXECUTOR_NONCE", "EXECUTOR_TOKEN_PEPPER", "EXECUTOR_AUTH"],
        [for env in google_cloud_run_v2_service.this[service].template[0].containers[0].env : env.name],
      )) == 0
    ])
    error_message = "Both functions must be able to check tokens and the shared secret."
  }
  assert {
    condition = (
      keys(google_secret_manager_secret_iam_member.pepper) == ["blob", "executor"] &&
      keys(google_secret_manager_secret_iam_member.blob_nonce) == ["blob"]
    )
    error_message = "Both functions must be able to read the token pepper and the shared secret."
  }
  assert {
    condition     = google_project_iam_member.this["blob/tokens"].role == "roles/datastore.user" && length(google_project_iam_member.this["blob/tokens"].condition) == 1
    error_message = "The function blob must be able to read tokens from the database, and to record who has which contents."
  }
  assert {
    condition = (
      local.access_settings.EXECUTOR_QUOTA_JOBS_WAITING == "50" && local.access_settings.EXECUTOR_QUOTA_JOBS_STORED == "100000" &&
      !contains(keys(local.access_settings), "EXECUTOR_QUOTA_BYTES_STORED") &&
      local.settings.EXECUTOR_QUOTA_JOBS_RUNNING == "1000"
    )
    error_message = "Users must have the given limits, the defaults, and no limit for -1."
  }
  assert {
    condition     = local.access_settings.EXECUTOR_PROXIES == "2" && !contains(keys(local.access_settings), "EXECUTOR_ALLOW_OPEN")
    error_message = "Behind the load balancer, two proxies must be known."
  }
}
