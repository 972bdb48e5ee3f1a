locals {
  retained = "2678400s" # 31 days, the maximum of Pub/Sub
}

resource "google_pubsub_topic" "pool" {
  #checkov:skip=CKV_GCP_83:The variable kms_key sets a customer-managed key; a message contains only a job's hash
  for_each = var.pools

  project      = var.project_id
  name         = "${var.name}-${each.key}"
  kms_key_name = var.kms_key
  labels       = merge(local.labels, { pool = each.key })

  depends_on = [google_project_service.required, google_kms_crypto_key_iam_member.service_agents]
}

# A message stays unacked while its job runs, and the worker extends the deadline. So the backlog that scales the fleet
# includes running jobs, and the message of a lost worker is redelivered automatically.
resource "google_pubsub_subscription" "pool" {
  for_each = var.pools

  project                    = var.project_id
  name                       = "${var.name}-${each.key}"
  topic                      = google_pubsub_topic.pool[each.key].id
  ack_deadline_seconds       = 60
  message_retention_duration = local.retained
  labels                     = merge(local.labels, { pool = each.key })

  expiration_policy {
    ttl = "" # never: nobody pulls while the pool is scaled to zero
  }

  # A job that a worker releases because its VM is preempted should restart elsewhere at once.
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
  #checkov:skip=CKV_GCP_83:The variable kms_key sets a customer-managed key; a message contains only a job's hash
  project      = var.project_id
  name         = "${var.name}-dead-letter"
  kms_key_name = var.kms_key
  labels       = local.labels

  depends_on = [google_project_service.required, google_kms_crypto_key_iam_member.service_agents]
}

# Keeps every dead letter for the operator to inspect, even if the function that records the failure fails.
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

# Delivers each dead letter to the function. The function checks the token too.
resource "google_pubsub_subscription" "dead_letter_push" {
  project                    = var.project_id
  name                       = "${var.name}-dead-letter-push"
  topic                      = google_pubsub_topic.dead_letter.id
  ack_deadline_seconds       = 60
  message_retention_duration = local.retained
  labels                     = local.labels

  push_config {
    push_endpoint = local.service_urls["dead-letter"]
    oidc_token {
      service_account_email = google_service_account.this["events"].email
      audience              = local.service_urls["dead-letter"]
    }
  }

  expiration_policy {
    ttl = ""
  }

  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }

  depends_on = [
    google_cloud_run_v2_service.this,
    google_cloud_run_v2_service_iam_member.dead_letter,
    google_service_account_iam_member.push_tokens,
  ]
}
