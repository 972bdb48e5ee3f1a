# Accounts and their roles. docs/deployment.md lists them with the reasons, and a test compares the two.

locals {
  accounts = merge(
    { for service in local.services : service => "Cloud Executor: the function ${service}" },
    {
      sweep       = "Cloud Executor: the function sweep"
      dead-letter = "Cloud Executor: the function dead_letter"
      scheduler   = "Cloud Executor: calls sweep"
      events      = "Cloud Executor: delivers dead letters to the function dead_letter"
      worker      = "Cloud Executor: worker VMs"
      builder     = "Cloud Executor: builds the functions"
    },
    var.build == null ? {} : { deployer = "Cloud Executor: tests, builds, and deploys each push" },
  )

  serve_blobs = var.domain == null ? "api" : "blob"
  serve_jobs  = var.domain == null ? "api" : "executor"

  # Firestore roles cannot be granted on a database, so a condition limits the project's roles to our database.
  database_roles = {
    for account in [local.serve_jobs, "sweep", "dead-letter", "worker"] : "${account}/database" => {
      account   = account
      role      = "roles/datastore.user"
      condition = "resource.name == \"projects/${var.project_id}/databases/${var.firestore_database}\""
    }
  }

  # Cloud Functions copies the source to this bucket, which it creates with the first function, and builds from there.
  build_bucket = "projects/_/buckets/gcf-v2-sources-${data.google_project.this.number}-${var.region}"

  project_roles = merge(local.database_roles, {
    # The logging, metric, and event roles cannot be granted on anything smaller than the project.
    "worker/logs"    = { account = "worker", role = "roles/logging.logWriter", condition = null }
    "worker/metrics" = { account = "worker", role = "roles/monitoring.metricWriter", condition = null }
    "builder/logs"   = { account = "builder", role = "roles/logging.logWriter", condition = null }
    "builder/copies" = { account = "builder", role = "roles/storage.objectViewer", condition = "resource.name.startsWith(\"${local.build_bucket}\")" }
    "events/receive" = { account = "events", role = "roles/eventarc.eventReceiver", condition = null }
  })

  bucket_roles = {
    "${local.serve_blobs}/blobs" = { account = local.serve_blobs, role = "roles/storage.objectUser", bucket = google_storage_bucket.blobs.name }
    "worker/blobs"               = { account = "worker", role = "roles/storage.objectUser", bucket = google_storage_bucket.blobs.name }
    "builder/source"             = { account = "builder", role = "roles/storage.objectViewer", bucket = google_storage_bucket.source.name }
  }

  registry_roles = {
    builder = "roles/artifactregistry.writer"
    worker  = "roles/artifactregistry.reader"
  }
}

resource "google_service_account" "this" {
  for_each = local.accounts

  project      = var.project_id
  account_id   = "${var.name}-${each.key}"
  display_name = each.value

  depends_on = [google_project_service.required]
}

resource "google_project_iam_member" "this" {
  for_each = local.project_roles

  project = var.project_id
  role    = each.value.role
  member  = google_service_account.this[each.value.account].member

  dynamic "condition" {
    for_each = each.value.condition == null ? [] : [each.value.condition]
    content {
      title      = "only-${var.name}"
      expression = condition.value
    }
  }
}

resource "google_storage_bucket_iam_member" "this" {
  for_each = local.bucket_roles

  bucket = each.value.bucket
  role   = each.value.role
  member = google_service_account.this[each.value.account].member
}

# Three accounts publish: the API for created jobs, the sweep for jobs that a crash kept from being published, and the
# worker for jobs that it hands over to another pool.
resource "google_pubsub_topic_iam_member" "publisher" {
  for_each = {
    for pair in setproduct([local.serve_jobs, "sweep", "worker"], keys(var.pools)) : "${pair[0]}/${pair[1]}" => { account = pair[0], pool = pair[1] }
  }

  project = var.project_id
  topic   = google_pubsub_topic.pool[each.value.pool].name
  role    = "roles/pubsub.publisher"
  member  = google_service_account.this[each.value.account].member
}

resource "google_pubsub_subscription_iam_member" "worker" {
  for_each = var.pools

  project      = var.project_id
  subscription = google_pubsub_subscription.pool[each.key].name
  role         = "roles/pubsub.subscriber"
  member       = google_service_account.this["worker"].member
}

# Pub/Sub's own service account moves messages to the dead-letter topic.
resource "google_pubsub_topic_iam_member" "dead_letter" {
  project = var.project_id
  topic   = google_pubsub_topic.dead_letter.name
  role    = "roles/pubsub.publisher"
  member  = local.service_agents.pubsub

  depends_on = [google_project_service_identity.agent]
}

resource "google_pubsub_subscription_iam_member" "dead_letter" {
  for_each = var.pools

  project      = var.project_id
  subscription = google_pubsub_subscription.pool[each.key].name
  role         = "roles/pubsub.subscriber"
  member       = local.service_agents.pubsub

  depends_on = [google_project_service_identity.agent]
}

# The function signs URLs of the bucket as its own account, without a key.
resource "google_service_account_iam_member" "sign_urls" {
  service_account_id = google_service_account.this[local.serve_blobs].name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = google_service_account.this[local.serve_blobs].member
}

resource "google_artifact_registry_repository_iam_member" "this" {
  for_each = local.registry_roles

  project    = var.project_id
  location   = var.region
  repository = google_artifact_registry_repository.images.name
  role       = each.value
  member     = google_service_account.this[each.key].member
}

# An idle worker removes its own VM from its group.
resource "google_project_iam_custom_role" "leave_group" {
  project     = var.project_id
  role_id     = "${replace(var.name, "-", "_")}_leave_group"
  title       = "Cloud Executor: leave the worker group"
  description = "Lets a worker remove its own VM from its managed instance group"
  # These permissions reach only VMs in a group: the group deletes the VM, using Google's own service account.
  permissions = ["compute.instanceGroupManagers.get", "compute.instanceGroupManagers.update"]
}

# Roles cannot be granted on an instance group, and IAM conditions do not support groups.
resource "google_project_iam_member" "leave_group" {
  project = var.project_id
  role    = google_project_iam_custom_role.leave_group.name
  member  = google_service_account.this["worker"].member
}

# Callers of the functions --------------------------------------------------------------------------------------------

resource "google_cloud_run_v2_service_iam_member" "sweep" {
  project  = var.project_id
  location = var.region
  name     = google_cloudfunctions2_function.this["sweep"].name
  role     = "roles/run.invoker"
  member   = google_service_account.this["scheduler"].member
}

resource "google_cloud_run_v2_service_iam_member" "dead_letter" {
  project  = var.project_id
  location = var.region
  name     = google_cloudfunctions2_function.this["dead-letter"].name
  role     = "roles/run.invoker"
  member   = google_service_account.this["events"].member
}

resource "google_cloud_run_v2_service_iam_member" "invoker" {
  for_each = {
    for pair in setproduct(local.services, local.invokers) : "${pair[0]}/${pair[1]}" => { service = pair[0], member = pair[1] }
  }

  project  = var.project_id
  location = var.region
  name     = google_cloudfunctions2_function.this[each.value.service].name
  role     = "roles/run.invoker"
  member   = each.value.member
}

locals {
  invokers = setunion(
    var.invokers,
    var.allow_unauthenticated ? ["allUsers"] : [],
    nonsensitive(var.iap != null) ? [local.service_agents.iap] : [],
  )
}

# Customer-managed encryption key -------------------------------------------------------------------------------------

resource "google_kms_crypto_key_iam_member" "service_agents" {
  for_each = var.kms_key == null ? toset([]) : toset(["compute", "pubsub", "registry", "storage"])

  crypto_key_id = var.kms_key
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = local.service_agents[each.key]

  depends_on = [google_project_service_identity.agent]
}
