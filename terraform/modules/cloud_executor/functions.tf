locals {
  repository = abspath("${path.module}/../../..")

  # The functions that serve the API: one at its own URL, or one each for blobs and jobs behind a load balancer.
  services = var.domain == null ? toset(["api"]) : toset(["blob", "executor"])

  url = var.domain == null ? google_cloud_run_v2_service.this["api"].uri : "https://${var.domain}"

  # Cloud Run's second URL of each service is known before the service exists, so other services can be told it.
  service_urls = {
    for function in ["api", "sweep", "dead-letter"] : function => "https://${var.name}-${function}-${data.google_project.this.number}.${var.region}.run.app"
  }

  # The audience of identity tokens for the API, which Cloud Run and the API accept.
  audience = var.domain == null ? local.service_urls["api"] : "https://${var.domain}"

  functions_image = coalesce(var.functions_image, "${local.registry}/functions:latest")

  cors_origins = concat(var.cors_origins, var.domain == null ? [] : ["https://${var.domain}"])

  pool_order = values({ for name, pool in var.pools : format("%012d %s", pool.order + 1000000, name) => name })

  # Settings that functions and workers share.
  settings = merge({
    EXECUTOR_OBJECTS            = "gcs"
    EXECUTOR_JOBS               = "google"
    EXECUTOR_PROJECT            = var.project_id
    EXECUTOR_BUCKET             = google_storage_bucket.blobs.name
    EXECUTOR_STAGING_BUCKET     = google_storage_bucket.staging.name
    EXECUTOR_FIRESTORE_DATABASE = google_firestore_database.jobs.name
    EXECUTOR_TOPIC_PREFIX       = var.name
    EXECUTOR_LEASE              = tostring(var.lease_seconds)
    EXECUTOR_LONGEST_JOB        = tostring(var.longest_job_seconds)
    EXECUTOR_QUEUE_WINDOW       = tostring(var.queue_window)
    EXECUTOR_POOLS              = jsonencode([for name in local.pool_order : local.pool_settings[name]])
  }, { for name, limit in local.quota_settings : name => limit if name == "EXECUTOR_QUOTA_JOBS_RUNNING" })

  # The limits of users, by setting. The workers and sweep enforce the limit of running jobs too.
  quota_settings = local.has_tokens || local.has_accounts ? {
    for name, limit in var.quotas : "EXECUTOR_QUOTA_${upper(name)}" => tostring(limit) if limit >= 0
  } : {}

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

    # A new job asks the pool's autoscaler for a VM at once.
    EXECUTOR_WORKER_REGION = var.region

    # Cloud Run passes only requests for names of the service.
    EXECUTOR_ALLOWED_HOSTS   = "*"
    EXECUTOR_ALLOWED_ORIGINS = join(",", local.cors_origins)

    # Only this account may push dead letters.
    EXECUTOR_PUSH_ACCOUNT  = google_service_account.this["events"].email
    EXECUTOR_PUSH_AUDIENCE = local.service_urls["dead-letter"]
  })

  deletes_old_data = var.keep_jobs_days != null

  has_tokens   = contains(var.auth_methods, "token")
  has_accounts = contains(var.auth_methods, "google")
  is_open      = contains(var.auth_methods, "open")

  # How the functions that serve the API identify callers.
  access_settings = merge(
    {
      EXECUTOR_AUTH = join(",", var.auth_methods)

      # The load balancer appends the caller's address and its own, Cloud Run alone only the caller's.
      EXECUTOR_PROXIES = var.domain == null ? "1" : "2"
    },
    local.is_open ? { EXECUTOR_ALLOW_OPEN = "yes" } : {}, # variables.tf requires the nonce or Cloud Run's own check
    local.has_accounts ? {
      EXECUTOR_GOOGLE_AUDIENCES = join(",", setunion([local.audience], local.iap == "service" ? [local.iap_service] : [], var.google_audiences))
      EXECUTOR_USERS            = join(",", var.users)
      EXECUTOR_ADMINS           = join(",", var.admins)
    } : {},
    local.quota_settings,
  )

  # The audience of Identity-Aware Proxy's assertions. That of a load balancer's backend is known only after its creation.
  iap_service = "/projects/${data.google_project.this.number}/locations/${var.region}/services/${var.name}-api"

  # The differences between the functions, by the suffix of their names.
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
        ingress         = var.domain == null ? "INGRESS_TRAFFIC_ALL" : "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"
        audiences       = var.domain == null ? [] : ["https://${var.domain}"]
        nonce           = contains(local.nonce_readers, service)
        pepper          = local.has_tokens
        public          = var.allow_unauthenticated
        iap             = local.iap == "service"
      }
    },
    {
      sweep = {
        description     = "Cloud Executor: repairs what crashes left behind and deletes expired data, once per minute"
        memory_mib      = 512
        cpus            = 1
        concurrency     = 16 # idle workers call it too, to leave their groups
        max_instances   = 1
        min_instances   = 0
        timeout_seconds = 300
        ingress         = "INGRESS_TRAFFIC_INTERNAL_ONLY"
        audiences       = []
        nonce           = false
        pepper          = false
        public          = false
        iap             = false
      }
      dead-letter = {
        description     = "Cloud Executor: records the failure of jobs that were delivered too often"
        memory_mib      = 512
        cpus            = 1
        concurrency     = 4
        max_instances   = 3
        min_instances   = 0
        timeout_seconds = 60
        ingress         = "INGRESS_TRAFFIC_INTERNAL_ONLY"
        audiences       = []
        nonce           = false
        pepper          = false
        public          = false
        iap             = false
      }
    },
    local.deletes_old_data ? {
      retention = {
        description     = "Cloud Executor: deletes old jobs, and blobs that nothing needs, once per day"
        memory_mib      = 4096 # the list of all objects in use is in files, which Cloud Run keeps in memory
        cpus            = 1
        concurrency     = 1
        max_instances   = 1
        min_instances   = 0
        timeout_seconds = 3600
        ingress         = "INGRESS_TRAFFIC_INTERNAL_ONLY"
        audiences       = []
        nonce           = false
        pepper          = false
        public          = false
        iap             = false
      }
    } : {},
  )
}

# The provider's block `build_config` records how an image was built, but starts no build (hashicorp/
# terraform-provider-google#22263 and #23057), so `make deploy` and Cloud Build build the image.
resource "google_cloud_run_v2_service" "this" {
  for_each = local.functions

  project              = var.project_id
  name                 = "${var.name}-${each.key}"
  location             = var.region
  description          = each.value.description
  labels               = local.labels
  ingress              = each.value.ingress
  custom_audiences     = each.value.audiences
  invoker_iam_disabled = each.value.public # organizations may forbid roles for allUsers
  iap_enabled          = each.value.iap
  deletion_protection  = false # a service holds no data

  template {
    service_account                  = google_service_account.this[each.key].email
    timeout                          = "${each.value.timeout_seconds}s"
    max_instance_request_concurrency = each.value.concurrency

    scaling {
      min_instance_count = each.value.min_instances
      max_instance_count = each.value.max_instances
    }

    containers {
      image = local.functions_image
      args  = ["--target=${replace(each.key, "-", "_")}", "--threads=${each.value.concurrency}"]

      resources {
        cpu_idle          = true # CPUs cost money only during requests
        startup_cpu_boost = true
        limits = {
          cpu    = tostring(each.value.cpus)
          memory = "${each.value.memory_mib}Mi"
        }
      }

      # A liveness probe would end an instance whose threads are all busy with slow uploads, so none is set.
      startup_probe {
        period_seconds    = 2
        timeout_seconds   = 2
        failure_threshold = 60
        http_get {
          path = "/healthz"
        }
      }

      dynamic "env" {
        for_each = merge(
          local.function_settings,
          contains(concat(tolist(local.services), ["retention"]), each.key) ? local.access_settings : {},
          each.key == "retention" ? { EXECUTOR_KEEP_JOBS = tostring(var.keep_jobs_days) } : {},
        )
        content {
          name  = env.key
          value = env.value
        }
      }

      dynamic "env" {
        for_each = each.value.nonce ? [google_secret_manager_secret_version.nonce[0].version] : []
        content {
          name = "EXECUTOR_NONCE"
          value_source {
            secret_key_ref {
              secret  = google_secret_manager_secret.nonce[0].secret_id
              version = env.value
            }
          }
        }
      }

      dynamic "env" {
        for_each = each.value.pepper ? ["1"] : [] # a second version can only result from an accident
        content {
          name = "EXECUTOR_TOKEN_PEPPER"
          value_source {
            secret_key_ref {
              secret  = google_secret_manager_secret.pepper.secret_id
              version = env.value
            }
          }
        }
      }

      dynamic "env" {
        for_each = each.value.pepper && local.has_admin_token ? [google_secret_manager_secret_version.admin_token[0].version] : []
        content {
          name = "EXECUTOR_ADMIN_TOKEN"
          value_source {
            secret_key_ref {
              secret  = google_secret_manager_secret.admin_token[0].secret_id
              version = env.value
            }
          }
        }
      }
    }
  }

  # A function must not start before its account has its roles. It may publish to every pool that its settings name.
  depends_on = [
    google_project_iam_member.this,
    google_pubsub_topic_iam_member.publisher,
    google_secret_manager_secret_iam_member.admin_token,
    google_secret_manager_secret_iam_member.blob_nonce,
    google_secret_manager_secret_iam_member.nonce,
    google_secret_manager_secret_iam_member.pepper,
    google_secret_manager_secret_version.pepper,
    google_storage_bucket_iam_member.this,
  ]
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
    uri         = google_cloud_run_v2_service.this["sweep"].uri
    oidc_token {
      service_account_email = google_service_account.this["scheduler"].email
      audience              = google_cloud_run_v2_service.this["sweep"].uri
    }
  }

  # The call of the next minute is the retry.
  retry_config {
    retry_count = 0
  }

  depends_on = [google_project_service.required]
}

resource "google_cloud_scheduler_job" "retention" {
  count = local.deletes_old_data ? 1 : 0

  project          = var.project_id
  region           = var.region
  name             = "${var.name}-retention"
  description      = "Cloud Executor: calls the function retention once per day"
  schedule         = "17 3 * * *"
  time_zone        = "Etc/UTC"
  attempt_deadline = "1800s"

  http_target {
    http_method = "POST"
    uri         = google_cloud_run_v2_service.this["retention"].uri
    oidc_token {
      service_account_email = google_service_account.this["scheduler"].email
      audience              = google_cloud_run_v2_service.this["retention"].uri
    }
  }

  # The call of the next day is the retry: a run that the deadline cut off goes on here and would only be repeated.
  retry_config {
    retry_count = 0
  }

  depends_on = [google_project_service.required]
}
