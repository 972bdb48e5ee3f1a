# Terraform reads the project from the Cloud Resource Manager API, which must be enabled before the first plan.
data "google_project" "this" {
  project_id = var.project_id
}

# Google creates Cloud Storage's service account when it is first read.
data "google_storage_project_service_account" "this" {
  project = var.project_id
}

locals {
  labels = merge({ application = var.name }, var.labels)

  # Google's own service accounts in this project, which its services run as.
  service_agents = merge({
    for service, domain in {
      pubsub   = "gcp-sa-pubsub"
      compute  = "compute-system"
      registry = "gcp-sa-artifactregistry"
      iap      = "gcp-sa-iap"
    } : service => "serviceAccount:service-${data.google_project.this.number}@${domain}.iam.gserviceaccount.com"
  }, { storage = data.google_storage_project_service_account.this.member })
}

resource "google_project_service" "required" {
  for_each = toset(concat(local.iap == null ? [] : ["iap.googleapis.com"], var.build == null ? [] : ["cloudbuild.googleapis.com"], var.budget == null ? [] : ["billingbudgets.googleapis.com"], [
    "artifactregistry.googleapis.com",
    "cloudscheduler.googleapis.com",
    "compute.googleapis.com",
    "firestore.googleapis.com",
    "iam.googleapis.com",
    "iamcredentials.googleapis.com",
    "logging.googleapis.com",
    "monitoring.googleapis.com",
    "pubsub.googleapis.com",
    "run.googleapis.com",
    "secretmanager.googleapis.com",
    "storage.googleapis.com",
  ]))

  project = var.project_id
  service = each.key

  # Other software in the project may use them too.
  disable_on_destroy = false
}

# Google creates these service accounts on request, without roles.
resource "google_project_service_identity" "agent" {
  provider = google-beta
  for_each = toset(concat(local.iap == null ? [] : ["iap.googleapis.com"], [
    "artifactregistry.googleapis.com",
    "pubsub.googleapis.com",
  ]))

  project = var.project_id
  service = each.key

  depends_on = [google_project_service.required]
}
