locals {
  bucket         = coalesce(var.bucket_name, "${var.project_id}-${var.name}-blobs")
  staging_bucket = "${var.project_id}-${var.name}-staging"

  # Number of days after which objects are deleted, by prefix: unfinished uploads, and zips that were composed for a
  # download, which a later download composes again.
  temporary = { "wg-temp/" = 1, "wg-zip/" = 8 }
}

# The bucket has no retention policy: it would forbid deleting a content whose checksum does not match. The soft delete
# policy retains deleted objects instead.
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

  # Earlier versions stored these here.
  dynamic "lifecycle_rule" {
    for_each = local.temporary
    content {
      action {
        type = "Delete"
      }
      condition {
        age            = lifecycle_rule.value
        matches_prefix = [lifecycle_rule.key]
      }
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

# Uploads in flight and composed zips. They are deleted soon, and a deleted object that soft delete retains costs as much
# as any other. Soft delete applies to whole buckets, so they have their own, with the same location and storage class:
# a copy between the two then moves no bytes.
resource "google_storage_bucket" "staging" {
  #checkov:skip=CKV_GCP_62:Every read and write goes through our own functions and workers, which log it
  #checkov:skip=CKV_GCP_78:Objects never change, and none is kept
  project                     = var.project_id
  name                        = local.staging_bucket
  location                    = google_storage_bucket.blobs.location
  storage_class               = google_storage_bucket.blobs.storage_class
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = true
  labels                      = local.labels

  soft_delete_policy {
    retention_duration_seconds = 0
  }

  dynamic "lifecycle_rule" {
    for_each = local.temporary
    content {
      action {
        type = "Delete"
      }
      condition {
        age            = lifecycle_rule.value
        matches_prefix = [lifecycle_rule.key]
      }
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
