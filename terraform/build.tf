resource "google_artifact_registry_repository" "images" {
  #checkov:skip=CKV_GCP_84:The key is a variable, kms_key
  project       = var.project_id
  location      = var.region
  repository_id = var.name
  description   = "Cloud Executor: images of the worker and of the functions"
  format        = "DOCKER"
  kms_key_name  = var.kms_key
  labels        = local.labels

  # Enough to roll back; a policy that keeps goes before one that deletes.
  cleanup_policies {
    id     = "keep-recent"
    action = "KEEP"
    most_recent_versions {
      keep_count = 10
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

# Shipping what is pushed ---------------------------------------------------------------------------------------------

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

  depends_on = [google_project_iam_member.deployer]
}

# What this folder's resources take to change, and no more: it is no owner, but nearly one: who may grant roles can have any.
resource "google_project_iam_member" "deployer" {
  for_each = var.build == null ? toset([]) : toset([
    "roles/artifactregistry.admin",
    "roles/cloudbuild.builds.editor",
    "roles/cloudfunctions.admin",
    "roles/cloudscheduler.admin",
    "roles/compute.instanceAdmin.v1",
    "roles/compute.loadBalancerAdmin",
    "roles/compute.networkAdmin",
    "roles/compute.securityAdmin",
    "roles/datastore.owner",
    "roles/eventarc.admin",
    "roles/iam.roleAdmin",
    "roles/iam.serviceAccountAdmin",
    "roles/logging.configWriter",
    "roles/logging.logWriter",
    "roles/monitoring.editor",
    "roles/pubsub.admin",
    "roles/resourcemanager.projectIamAdmin",
    "roles/run.admin",
    "roles/secretmanager.admin",
    "roles/serviceusage.serviceUsageAdmin",
    "roles/storage.admin",
  ])

  #checkov:skip=CKV_GCP_41:The account that applies this configuration deploys in the name of the others
  #checkov:skip=CKV_GCP_49:The account that applies this configuration makes the others and gives them their roles
  #checkov:skip=CKV_GCP_117:No basic role is among them
  project = var.project_id
  role    = each.key
  member  = google_service_account.this["deployer"].member
}

# To deploy in the name of an account is a right over that account.
resource "google_service_account_iam_member" "deployer" {
  for_each = var.build == null ? {} : { for account, _ in local.accounts : account => account if account != "deployer" }

  service_account_id = google_service_account.this[each.key].name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.this["deployer"].member
}
