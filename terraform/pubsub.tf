locals {
  retained = "2678400s" # 31 days, the longest that Pub/Sub keeps a message
}

resource "google_pubsub_topic" "pool" {
  #checkov:skip=CKV_GCP_83:The key is a variable, kms_key: a message holds only a job's hash
  for_each = var.pools

  project      = var.project_id
  name         = "${var.name}-${each.key}"
  kms_key_name = var.kms_key
  labels       = merge(local.labels, { pool = each.key })

  depends_on = [google_project_service.required, google_kms_crypto_key_iam_member.service_agents]
}

# A message stays unacked while its job runs, and its worker extends the deadline: the backlog that scales the fleet
# counts running jobs, and the message of a lost worker returns by itself.
resource "google_pubsub_subscription" "pool" {
  for_each = var.pools

  project                    = var.project_id
  name                       = "${var.name}-${each.key}"
  topic                      = google_pubsub_topic.pool[each.key].id
  ack_deadline_seconds       = 60
  message_retention_duration = local.retained
  labels                     = merge(local.labels, { pool = each.key })

  expiration_policy {
    ttl = "" # never, however long nobody pulls: the pool is scaled to zero
  }

  # A job that is given back because its VM goes away should start elsewhere at once.
  retry_policy {
    minimum_backoff = "1s"
    maximum_backoff = "60s"
  }

  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.dead_letter.id
    max_delivery_attempts = var.max_delivery_attempts
  }
}

resource "google_pubsub_topic" "dead_letter" {
  #checkov:skip=CKV_GCP_83:The key is a variable, kms_key: a message holds only a job's hash
  project      = var.project_id
  name         = "${var.name}-dead-letter"
  kms_key_name = var.kms_key
  labels       = local.labels

  depends_on = [google_project_service.required, google_kms_crypto_key_iam_member.service_agents]
}

# Keeps every dead letter for a person to look at, whatever became of it in the function that records the failure.
resource "google_pubsub_subscription" "dead_letter" {
  project                    = var.project_id
  name                       = "${var.name}-dead-letter"
  topic                      = google_pubsub_topic.dead_letter.id
  ack_deadline_seconds       = 60
  message_retention_duration = local.retained
  labels                     = local.labels

  expiration_policy {
    ttl = ""
  }
}
