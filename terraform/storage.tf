locals {
  bucket = coalesce(var.bucket_name, "${var.project_id}-${var.name}-blobs")
}

# There is no retention policy of the bucket: an upload is moved to its place, which deletes the object that it was, and
# such a policy would forbid that. What was deleted is retained by the soft delete policy instead.
resource "google_storage_bucket" "blobs" {
  #checkov:skip=CKV_GCP_62:Every read and write goes through our own functions and workers, which log it
  #checkov:skip=CKV_GCP_78:Objects never change, so there are no older versions; the soft delete policy keeps what was deleted
  project                     = var.project_id
  name                        = local.bucket
  location                    = var.region
  storage_class               = "STANDARD"
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.delete_protection
  labels                      = local.labels

  soft_delete_policy {
    retention_duration_seconds = var.soft_delete_days * 86400
  }

  # Uploads that were left before their end.
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age            = 1
      matches_prefix = ["wg-temp/"]
    }
  }

  # Zips that were composed for a download; they are composed anew for whoever asks later.
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age            = 8
      matches_prefix = ["wg-zip/"]
    }
  }

  lifecycle_rule {
    action {
      type = "AbortIncompleteMultipartUpload"
    }
    condition {
      age = 1
    }
  }

  # Pages send large uploads to the bucket itself, and read large downloads from it.
  dynamic "cors" {
    for_each = length(local.cors_origins) == 0 ? [] : [local.cors_origins]
    content {
      origin          = cors.value
      method          = ["GET", "HEAD", "PUT"]
      response_header = ["Content-Type", "Content-Range", "Content-Disposition", "Range", "ETag"]
      max_age_seconds = 3600
    }
  }

  dynamic "encryption" {
    for_each = var.kms_key == null ? [] : [var.kms_key]
    content {
      default_kms_key_name = encryption.value
    }
  }

  depends_on = [google_project_service.required, google_kms_crypto_key_iam_member.service_agents]
}

# Source archives of the functions.
resource "google_storage_bucket" "source" {
  #checkov:skip=CKV_GCP_62:Only the deployment writes here, and Cloud Audit Logs record it
  #checkov:skip=CKV_GCP_78:An archive's name is made of its own checksum, so there are no older versions
  project                     = var.project_id
  name                        = "${var.project_id}-${var.name}-source"
  location                    = var.region
  storage_class               = "STANDARD"
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = true # holds nothing that cannot be made again
  labels                      = local.labels

  dynamic "encryption" {
    for_each = var.kms_key == null ? [] : [var.kms_key]
    content {
      default_kms_key_name = encryption.value
    }
  }

  depends_on = [google_project_service.required, google_kms_crypto_key_iam_member.service_agents]
}
