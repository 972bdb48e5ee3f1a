locals {
  # This file has the format of the Firebase CLI. The tests of the Firestore backend read it too.
  firestore = jsondecode(file("${local.repository}/cloud_executor/backends/google/firestore/indexes.json"))

  # The keys are made of the indexed fields, so that adding an index does not change the addresses of the others.
  firestore_indexes = {
    for index in local.firestore.indexes :
    join("/", concat([index.collectionGroup], [for field in index.fields : "${field.fieldPath}:${lower(try(field.order, field.arrayConfig))}"])) => index
  }
  firestore_fields = {
    for field in local.firestore.fieldOverrides : "${field.collectionGroup}/${field.fieldPath}" => field
  }
}

resource "google_firestore_database" "jobs" {
  project                           = var.project_id
  name                              = var.firestore_database
  location_id                       = var.region
  type                              = "FIRESTORE_NATIVE"
  concurrency_mode                  = "PESSIMISTIC"
  point_in_time_recovery_enablement = var.point_in_time_recovery ? "POINT_IN_TIME_RECOVERY_ENABLED" : "POINT_IN_TIME_RECOVERY_DISABLED"
  delete_protection_state           = var.delete_protection ? "DELETE_PROTECTION_ENABLED" : "DELETE_PROTECTION_DISABLED"
  deletion_policy                   = var.delete_protection ? "ABANDON" : "DELETE"

  depends_on = [google_project_service.required]
}

resource "google_firestore_index" "jobs" {
  for_each = local.firestore_indexes

  project     = var.project_id
  database    = google_firestore_database.jobs.name
  collection  = each.value.collectionGroup
  query_scope = each.value.queryScope

  dynamic "fields" {
    for_each = each.value.fields
    content {
      field_path   = fields.value.fieldPath
      order        = try(fields.value.order, null)
      array_config = try(fields.value.arrayConfig, null)
    }
  }
}

# Fields that no query uses are not indexed: each index costs one more write per document, and an index of an increasing
# value is a hot spot. Where a field has a time to live, Firestore deletes expired documents itself.
resource "google_firestore_field" "jobs" {
  for_each = local.firestore_fields

  project    = var.project_id
  database   = google_firestore_database.jobs.name
  collection = each.value.collectionGroup
  field      = each.value.fieldPath

  dynamic "ttl_config" {
    for_each = try(each.value.ttl, false) ? [true] : []
    content {}
  }

  # Without this block, a field has the database's automatic indexes.
  dynamic "index_config" {
    for_each = try([each.value.indexes], [])
    content {
      dynamic "indexes" {
        for_each = index_config.value
        content {
          order       = indexes.value.order
          query_scope = indexes.value.queryScope
        }
      }
    }
  }
}
