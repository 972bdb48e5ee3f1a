locals {
  repository = abspath("${path.module}/..")

  # What is deployed, and nothing else: the functions, the library that they share with the workers, and its requirements.
  source_files = toset([
    for file in concat(
      ["requirements.txt"],
      tolist(fileset(local.repository, "functions/**/*.{py,json,html,css,js,svg}")),
      tolist(fileset(local.repository, "cloud_executor/**/*.{py,json}")),
    ) : file if !can(regex("^cloud_executor/(client|local_stack)/", file))
  ])

  # The functions that serve the API: one of everything at its own URL, or, behind a load balancer, one for each half.
  services = var.domain == null ? toset(["api"]) : toset(["blob", "executor"])

  url = var.domain == null ? google_cloudfunctions2_function.service["api"].service_config[0].uri : "https://${var.domain}"

  cors_origins = concat(var.cors_origins, var.domain == null ? [] : ["https://${var.domain}"])

  pool_order = values({ for name, pool in var.pools : format("%012d %s", pool.order + 1000000, name) => name })

  # What functions and workers are told alike.
  settings = {
    EXECUTOR_OBJECTS            = "gcs"
    EXECUTOR_JOBS               = "google"
    EXECUTOR_PROJECT            = var.project_id
    EXECUTOR_BUCKET             = google_storage_bucket.blobs.name
    EXECUTOR_FIRESTORE_DATABASE = google_firestore_database.jobs.name
    EXECUTOR_TOPIC_PREFIX       = var.name
    EXECUTOR_LEASE              = tostring(var.lease_seconds)
    EXECUTOR_LONGEST_JOB        = tostring(var.longest_job_seconds)
    EXECUTOR_POOLS              = jsonencode([for name in local.pool_order : local.pool_settings[name]])
  }

  # Each pool as functions and workers know it; what it leaves out, the code has a default for.
  pool_settings = {
    for name, pool in var.pools : name => {
      for key, value in {
        name        = name
        labels      = pool.labels
        slots       = pool.slots
        image       = pool.image
        images      = pool.image_patterns
        network     = pool.job_network
        cpus        = pool.job_cpus
        memoryMiB   = pool.job_memory_mib
        processes   = pool.job_processes
        diskMiB     = pool.job_disk_mib
        gpus        = pool.accelerator_type == null ? null : pool.accelerator_count
        timeout     = pool.job_timeout_seconds
        maxTimeout  = coalesce(pool.job_max_timeout_seconds, var.longest_job_seconds)
        idleMinutes = pool.idle_minutes
        minWorkers  = pool.min_workers
      } : key => value if value != null
    }
  }

  function_settings = merge(local.settings, {
    EXECUTOR_ALLOW_LIST_ALL = tostring(var.list_all_blobs)
    PYTHONPATH              = "/workspace" # where the platform puts the archive; functions-framework knows only the folder of main.py
    THREADS                 = tostring(var.function_limits.concurrency)
  })

  runtime = "python312"
  build_environment = {
    GOOGLE_FUNCTION_SOURCE = "functions/main.py"
  }
}

data "archive_file" "source" {
  type             = "zip"
  output_path      = "${path.root}/.terraform/${var.name}-functions.zip"
  output_file_mode = "0644" # so that equal files make an equal archive, on any machine

  dynamic "source" {
    for_each = local.source_files
    content {
      filename = source.value
      content  = file("${local.repository}/${source.value}")
    }
  }
}

resource "google_storage_bucket_object" "source" {
  name   = "functions-${data.archive_file.source.output_sha256}.zip"
  bucket = google_storage_bucket.source.name
  source = data.archive_file.source.output_path
}

resource "google_cloudfunctions2_function" "service" {
  for_each = local.services

  project     = var.project_id
  name        = "${var.name}-${each.key}"
  location    = var.region
  description = "Cloud Executor: what users call (${each.key})"
  labels      = local.labels

  build_config {
    runtime               = local.runtime
    entry_point           = each.key
    environment_variables = local.build_environment
    docker_repository     = google_artifact_registry_repository.images.id
    service_account       = google_service_account.this["builder"].id
    source {
      storage_source {
        bucket = google_storage_bucket.source.name
        object = google_storage_bucket_object.source.name
      }
    }
  }

  service_config {
    available_memory                 = "${var.function_limits.memory_mib}Mi"
    available_cpu                    = tostring(var.function_limits.cpus)
    max_instance_request_concurrency = var.function_limits.concurrency
    max_instance_count               = var.function_limits.max_instances
    min_instance_count               = var.function_limits.min_instances
    timeout_seconds                  = 3600 # a slow upload may take as long
    ingress_settings                 = var.domain == null ? "ALLOW_ALL" : "ALLOW_INTERNAL_AND_GCLB"
    all_traffic_on_latest_revision   = true
    service_account_email            = google_service_account.this[each.key].email
    environment_variables            = local.function_settings

    dynamic "secret_environment_variables" {
      for_each = var.require_nonce && each.key != "blob" ? [google_secret_manager_secret_version.nonce[0]] : []
      content {
        key        = "EXECUTOR_NONCE"
        project_id = var.project_id
        secret     = google_secret_manager_secret.nonce[0].secret_id
        version    = secret_environment_variables.value.version
      }
    }
  }

  depends_on = [
    google_artifact_registry_repository_iam_member.this,
    google_project_iam_member.this,
    google_pubsub_topic_iam_member.publisher, # a pool that it knows is one that it may publish to
    google_secret_manager_secret_iam_member.nonce,
    google_storage_bucket_iam_member.this,
  ]
}

# Mends what crashes left, once a minute.
resource "google_cloudfunctions2_function" "sweep" {
  #checkov:skip=CKV_GCP_124:Cloud Scheduler calls from outside the network; only its account may
  project     = var.project_id
  name        = "${var.name}-sweep"
  location    = var.region
  description = "Cloud Executor: what a crash left is mended, and what has expired is cleared away"
  labels      = local.labels

  build_config {
    runtime               = local.runtime
    entry_point           = "sweep"
    environment_variables = local.build_environment
    docker_repository     = google_artifact_registry_repository.images.id
    service_account       = google_service_account.this["builder"].id
    source {
      storage_source {
        bucket = google_storage_bucket.source.name
        object = google_storage_bucket_object.source.name
      }
    }
  }

  service_config {
    available_memory                 = "512Mi"
    available_cpu                    = "1"
    max_instance_request_concurrency = 1
    max_instance_count               = 1
    timeout_seconds                  = 300
    ingress_settings                 = "ALLOW_ALL"
    all_traffic_on_latest_revision   = true
    service_account_email            = google_service_account.this["sweep"].email
    environment_variables            = local.function_settings
  }

  depends_on = [
    google_artifact_registry_repository_iam_member.this,
    google_project_iam_member.this,
    google_pubsub_topic_iam_member.publisher,
    google_storage_bucket_iam_member.this,
  ]
}

resource "google_cloud_scheduler_job" "sweep" {
  project          = var.project_id
  region           = var.region
  name             = "${var.name}-sweep"
  description      = "Calls the function that mends what crashes left"
  schedule         = "* * * * *"
  time_zone        = "Etc/UTC"
  attempt_deadline = "300s"

  http_target {
    http_method = "POST"
    uri         = google_cloudfunctions2_function.sweep.service_config[0].uri
    oidc_token {
      service_account_email = google_service_account.this["scheduler"].email
      audience              = google_cloudfunctions2_function.sweep.service_config[0].uri
    }
  }

  # The next minute tries again.
  retry_config {
    retry_count = 0
  }

  depends_on = [google_project_service.required]
}

# Records the failure of jobs that no worker could run.
resource "google_cloudfunctions2_function" "dead_letter" {
  project     = var.project_id
  name        = "${var.name}-dead-letter"
  location    = var.region
  description = "Cloud Executor: a job that was handed out too often has failed"
  labels      = local.labels

  build_config {
    runtime               = local.runtime
    entry_point           = "dead_letter"
    environment_variables = local.build_environment
    docker_repository     = google_artifact_registry_repository.images.id
    service_account       = google_service_account.this["builder"].id
    source {
      storage_source {
        bucket = google_storage_bucket.source.name
        object = google_storage_bucket_object.source.name
      }
    }
  }

  service_config {
    available_memory               = "512Mi"
    max_instance_count             = 3
    timeout_seconds                = 60
    ingress_settings               = "ALLOW_INTERNAL_ONLY"
    all_traffic_on_latest_revision = true
    service_account_email          = google_service_account.this["dead-letter"].email
    environment_variables          = merge(local.function_settings, { THREADS = "1" })
  }

  event_trigger {
    trigger_region        = var.region
    event_type            = "google.cloud.pubsub.topic.v1.messagePublished"
    pubsub_topic          = google_pubsub_topic.dead_letter.id
    retry_policy          = "RETRY_POLICY_RETRY"
    service_account_email = google_service_account.this["events"].email
  }

  depends_on = [
    google_artifact_registry_repository_iam_member.this,
    google_project_iam_member.this,
    google_project_service_identity.agent,
    google_storage_bucket_iam_member.this,
  ]
}
