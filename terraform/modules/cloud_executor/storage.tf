locals {
  bucket = coalesce(var.bucket_name, "${var.project_id}-${var.name}-blobs")
}

# The bucket has no retention policy: it would forbid deleting the temporary object when an upload is moved to its final
# key. The soft delete policy retains deleted objects instead.
resource "google_storage_bucket" "blobs" {
  #checkov:skip=CKV_GCP_62:Every read and write goes through our own functions and workers, which log it
  #checkov:skip=CKV_GCP_78:Objects never change, so no older versions exist; the soft delete policy retains deleted objects
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

  # Unfinished uploads.
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age            = 1
      matches_prefix = ["wg-temp/"]
    }
  }

  # Zips that were composed for a download. A later download composes them again.
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

  # Web pages send large uploads to the bucket directly, and read large downloads from it.
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
