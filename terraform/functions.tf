locals {
  repository = abspath("${path.module}/..")

  # The deployed source: the functions, the library that they share with the workers, and the requirements.
  source_files = setunion(
    ["requirements.txt"],
    fileset(local.repository, "functions/**/*.{py,json,html,css,js,svg}"),
    fileset(local.repository, "cloud_executor/**/*.{py,json}"),
  )

  # The functions that serve the API: one at its own URL, or one each for blobs and jobs behind a load balancer.
  services = var.domain == null ? toset(["api"]) : toset(["blob", "executor"])

  url = var.domain == null ? google_cloudfunctions2_function.this["api"].service_config[0].uri : "https://${var.domain}"

  cors_origins = concat(var.cors_origins, var.domain == null ? [] : ["https://${var.domain}"])

  pool_order = values({ for name, pool in var.pools : format("%012d %s", pool.order + 1000000, name) => name })

  # Settings that functions and workers share.
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

  # The pools in the format of EXECUTOR_POOLS. The code has a default for each omitted value.
  pool_settings = {
    for name, pool in var.pools : name => {
      for key, value in {
        name       = name
        labels     = pool.labels
        slots      = pool.slots
        image      = pool.image
        images     = pool.image_patterns
        network    = pool.job_network
        runtime    = pool.job_runtime
        cpus       = pool.job_cpus
        memoryMiB  = pool.job_memory_mib
        processes  = pool.job_processes
        diskMiB    = pool.job_disk_mib
        env        = length(merge(var.job_env, pool.job_env)) == 0 ? null : merge(var.job_env, pool.job_env)
        gpus       = pool.accelerator_type == null ? null : pool.accelerator_count
        timeout    = pool.job_timeout_seconds
        maxTimeout = coalesce(pool.job_max_timeout_seconds, var.longest_job_seconds)
        maxRetries = pool.job_max_retries

        externalWorkers = pool.external_workers ? true : null
        idleMinutes     = pool.idle_minutes
        minWorkers      = pool.min_workers
      } : key => value if value != null
    }
  }

  function_settings = merge(local.settings, {
    EXECUTOR_ALLOW_LIST_ALL = tostring(var.list_all_blobs)
    THREADS                 = tostring(var.function_limits.concurrency)

    # Cloud Run passes only requests for names of the service.
    EXECUTOR_ALLOWED_HOSTS   = "*"
    EXECUTOR_ALLOWED_ORIGINS = join(",", local.cors_origins)

    # The folder of the extracted archive. functions-framework adds only the folder of main.py to the path.
    PYTHONPATH = "/workspace"
  })

  # The differences between the functions, by the suffix of their names. Cloud Functions has defaults for omitted values.
  functions = merge(
    {
      for service in local.services : service => {
        description     = "Cloud Executor: the API (${service})"
        memory_mib      = var.function_limits.memory_mib
        cpus            = var.function_limits.cpus
        concurrency     = var.function_limits.concurrency
        max_instances   = var.function_limits.max_instances
        min_instances   = var.function_limits.min_instances
        timeout_seconds = 3600 # the time that a slow upload may take
        ingress         = var.domain == null ? "ALLOW_ALL" : "ALLOW_INTERNAL_AND_GCLB"
        nonce           = var.require_nonce && service != "blob"
      }
    },
    {
      sweep = {
        description     = "Cloud Executor: repairs what crashes left behind and deletes expired data, once per minute"
        memory_mib      = 512
        cpus            = 1
        concurrency     = 1
        max_instances   = 1
        timeout_seconds = 300
        ingress         = "ALLOW_ALL"
      }
      dead-letter = {
        description     = "Cloud Executor: records the failure of jobs that were delivered too often"
        memory_mib      = 512
        max_instances   = 3
        timeout_seconds = 60
        ingress         = "ALLOW_INTERNAL_ONLY"
        settings        = { THREADS = "1" } # it gets one event at a time
        dead_letters    = true
      }
    },
  )
}

data "archive_file" "source" {
  type             = "zip"
  output_path      = "${path.root}/.terraform/${var.name}-functions.zip"
  output_file_mode = "0644" # makes the archive identical on every machine

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

resource "google_cloudfunctions2_function" "this" {
  #checkov:skip=CKV_GCP_124:Cloud Scheduler calls from outside the network; every caller needs the role run.invoker
  for_each = local.functions

  project     = var.project_id
  name        = "${var.name}-${each.key}"
  location    = var.region
  description = each.value.description
  labels      = local.labels

  build_config {
    runtime     = "python312"
    entry_point = replace(each.key, "-", "_")
    environment_variables = {
      GOOGLE_FUNCTION_SOURCE = "functions/main.py"
    }
    docker_repository = google_artifact_registry_repository.images.id
    service_account   = google_service_account.this["builder"].id
    source {
      storage_source {
        bucket = google_storage_bucket.source.name
        object = google_storage_bucket_object.source.name
      }
    }
  }

  service_config {
    available_memory                 = "${each.value.memory_mib}Mi"
    available_cpu                    = try(each.value.cpus, null)
    max_instance_request_concurrency = try(each.value.concurrency, null)
    max_instance_count               = each.value.max_instances
    min_instance_count               = try(each.value.min_instances, null)
    timeout_seconds                  = each.value.timeout_seconds
    ingress_settings                 = each.value.ingress
    all_traffic_on_latest_revision   = true
    service_account_email            = google_service_account.this[each.key].email
    environment_variables            = merge(local.function_settings, try(each.value.settings, {}))

    dynamic "secret_environment_variables" {
      for_each = try(each.value.nonce, false) ? [google_secret_manager_secret_version.nonce[0]] : []
      content {
        key        = "EXECUTOR_NONCE"
        project_id = var.project_id
        secret     = google_secret_manager_secret.nonce[0].secret_id
        version    = secret_environment_variables.value.version
      }
    }
  }

  dynamic "event_trigger" {
    for_each = try(each.value.dead_letters, false) ? [google_pubsub_topic.dead_letter.id] : []
    content {
      trigger_region        = var.region
      event_type            = "google.cloud.pubsub.topic.v1.messagePublished"
      pubsub_topic          = event_trigger.value
      retry_policy          = "RETRY_POLICY_RETRY"
      service_account_email = google_service_account.this["events"].email
    }
  }

  # A function must not start before its account has its roles. It may publish to every pool that its settings name.
  depends_on = [
    google_artifact_registry_repository_iam_member.this,
    google_project_iam_member.this,
    google_project_service_identity.agent,
    google_pubsub_topic_iam_member.publisher,
    google_secret_manager_secret_iam_member.nonce,
    google_storage_bucket_iam_member.this,
  ]
}

# These functions used to be separate resources.
moved {
  from = google_cloudfunctions2_function.service
  to   = google_cloudfunctions2_function.this
}

moved {
  from = google_cloudfunctions2_function.sweep
  to   = google_cloudfunctions2_function.this["sweep"]
}

moved {
  from = google_cloudfunctions2_function.dead_letter
  to   = google_cloudfunctions2_function.this["dead-letter"]
}

resource "google_cloud_scheduler_job" "sweep" {
  project          = var.project_id
  region           = var.region
  name             = "${var.name}-sweep"
  description      = "Cloud Executor: calls the function sweep once per minute"
  schedule         = "* * * * *"
  time_zone        = "Etc/UTC"
  attempt_deadline = "300s"

  http_target {
    http_method = "POST"
    uri         = google_cloudfunctions2_function.this["sweep"].service_config[0].uri
    oidc_token {
      service_account_email = google_service_account.this["scheduler"].email
      audience              = google_cloudfunctions2_function.this["sweep"].service_config[0].uri
    }
  }

  # The call of the next minute is the retry.
  retry_config {
    retry_count = 0
  }

  depends_on = [google_project_service.required]
}
