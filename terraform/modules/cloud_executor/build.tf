resource "google_artifact_registry_repository" "images" {
  #checkov:skip=CKV_GCP_84:The variable kms_key sets a customer-managed key
  project       = var.project_id
  location      = var.region
  repository_id = var.name
  description   = "Cloud Executor: images of the worker and the functions"
  format        = "DOCKER"
  kms_key_name  = var.kms_key
  labels        = local.labels

  # Keeps enough images to roll back: a KEEP policy takes precedence over a DELETE policy. A push counts as up to three
  # versions: an index, a manifest, and an attestation.
  cleanup_policies {
    id     = "keep-recent"
    action = "KEEP"
    most_recent_versions {
      keep_count = 30
    }
  }
  # A deployment tags its images. Each new VM and instance pulls them, however old they are.
  cleanup_policies {
    id     = "keep-deployed"
    action = "KEEP"
    condition {
      tag_state    = "TAGGED"
      tag_prefixes = ["deployed", "latest"]
    }
  }
  cleanup_policies {
    id     = "delete-old"
    action = "DELETE"
    condition {
      older_than = "2592000s" # 30 days
    }
  }

  depends_on = [google_project_service.required, google_kms_crypto_key_iam_member.service_agents]
}

# Continuous deployment -----------------------------------------------------------------------------------------------

resource "google_cloudbuild_trigger" "deploy" {
  count = var.build == null ? 0 : 1

  project         = var.project_id
  location        = var.region
  name            = "${var.name}-deploy"
  description     = "Cloud Executor: test, build the worker's image, deploy"
  filename        = "cloudbuild.yaml"
  service_account = google_service_account.this["deployer"].id
  tags            = [var.name]

  repository_event_config {
    repository = var.build.repository
    push {
      branch = var.build.branch
    }
  }

  approval_config {
    approval_required = var.build.require_approval
  }

  substitutions = {
    _NAME         = var.name
    _REGION       = var.region
    _STATE_BUCKET = var.build.state_bucket
  }

  depends_on = [google_project_iam_member.deployer, google_project_iam_member.manage_queues, google_storage_bucket_iam_member.deployer]
}

# A push may change functions, pools, queues, indexes, and alerts. The account reads everything else to compare it with
# the state, but it cannot grant roles, create accounts, open the network, or change its own trigger. A deployment that
# needs one of these fails until a person applies the change. A new pool is such a change, because its queue needs roles.
# Anyone who may push therefore has the permissions of our functions and workers, and can change all VMs, functions, and
# queues of the project, because no narrower role exists.
locals {
  deployer_project_roles = toset(var.build == null ? [] : [
    "roles/browser",
    "roles/cloudbuild.builds.viewer",
    "roles/run.developer",
    "roles/cloudscheduler.viewer",
    "roles/compute.instanceAdmin.v1",
    "roles/compute.viewer",
    "roles/datastore.indexAdmin",
    "roles/iam.securityReviewer",
    "roles/logging.configWriter",
    "roles/logging.logWriter",
    "roles/monitoring.editor",
    "roles/serviceusage.serviceUsageConsumer",
  ])

  deployer_bucket_roles = var.build == null ? {} : {
    "blobs/reads"   = { bucket = google_storage_bucket.blobs.name, role = "roles/storage.legacyBucketReader" }
    "staging/reads" = { bucket = google_storage_bucket.staging.name, role = "roles/storage.legacyBucketReader" }
    "state"         = { bucket = var.build.state_bucket, role = "roles/storage.objectUser" }
  }
}

resource "google_project_iam_member" "deployer" {
  for_each = local.deployer_project_roles

  project = var.project_id
  role    = each.key
  member  = google_service_account.this["deployer"].member
}

# This role covers the topics and subscriptions of new pools, but not their permissions or messages. Pub/Sub does not
# support IAM conditions.
resource "google_project_iam_custom_role" "manage_queues" {
  count = var.build == null ? 0 : 1

  project     = var.project_id
  role_id     = "${replace(var.name, "-", "_")}_manage_queues_${random_id.roles.hex}"
  title       = "Cloud Executor: manage topics and subscriptions"
  description = "Lets a push change the queues of the worker pools"
  permissions = concat(
    [for verb in ["attachSubscription", "create", "delete", "get", "update"] : "pubsub.topics.${verb}"],
    [for verb in ["create", "delete", "get", "update"] : "pubsub.subscriptions.${verb}"],
    ["compute.healthChecks.useReadOnly"], # a group with a health check
  )
}

resource "google_project_iam_member" "manage_queues" {
  count = var.build == null ? 0 : 1

  project = var.project_id
  role    = google_project_iam_custom_role.manage_queues[0].name
  member  = google_service_account.this["deployer"].member
}

resource "google_storage_bucket_iam_member" "deployer" {
  for_each = local.deployer_bucket_roles

  bucket = each.value.bucket
  role   = each.value.role
  member = google_service_account.this["deployer"].member
}

resource "google_artifact_registry_repository_iam_member" "deployer" {
  count = var.build == null ? 0 : 1

  project    = var.project_id
  location   = var.region
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.this["deployer"].member
}

# Terraform compares the secrets with its state, which the account can read anyway.
resource "google_secret_manager_secret_iam_member" "deployer" {
  for_each = {
    for pair in setproduct(var.build == null ? [] : keys(local.secrets), ["secretAccessor", "viewer"]) : "${pair[0]}/${pair[1]}" => { secret = pair[0], role = pair[1] }
  }

  project   = var.project_id
  secret_id = local.secrets[each.value.secret]
  role      = "roles/secretmanager.${each.value.role}"
  member    = google_service_account.this["deployer"].member
}

# Deploying a function or VM that runs as an account requires a role on that account. A push does not deploy the Cloud
# Scheduler job, so it needs no role on that job's account.
resource "google_service_account_iam_member" "deployer" {
  for_each = toset(var.build == null ? [] : [for account in keys(local.accounts) : account if !contains(["deployer", "scheduler"], account)])

  service_account_id = google_service_account.this[each.key].name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.this["deployer"].member
}
