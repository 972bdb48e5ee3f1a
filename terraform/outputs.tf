output "url" {
  description = "Where the API is."
  value       = local.url
}

output "bucket" {
  description = "The bucket that holds the blobs."
  value       = google_storage_bucket.blobs.name
}

output "registry" {
  description = "Where images are pushed to."
  value       = local.registry
}

output "worker_image" {
  description = "The image that new workers run."
  value       = local.worker_image
}

output "address" {
  description = "Where the domain's A record must point. Null without a domain."
  value       = one(google_compute_global_address.api[*].address)
}

output "subscriptions" {
  description = "The Pub/Sub subscription of each worker pool."
  value       = { for name, subscription in google_pubsub_subscription.pool : name => subscription.name }
}

output "nonce_secret" {
  description = "The secret in Secret Manager that requests to the executor API must carry. Null if none is needed."
  value       = one(google_secret_manager_secret.nonce[*].secret_id)
}

output "try_it" {
  description = "Commands that run a first job."
  value       = <<-EOT
    export EXECUTOR_URL=${local.url}
    %{~if var.require_nonce}
    export EXECUTOR_NONCE=$(gcloud secrets versions access latest --project=${var.project_id} --secret=${one(google_secret_manager_secret.nonce[*].secret_id)})
    curl --fail --header "x-executor-nonce: $EXECUTOR_NONCE" ${var.allow_unauthenticated ? "" : "--header \"Authorization: Bearer $(gcloud auth print-identity-token)\" "}$EXECUTOR_URL/rest/executor/worker
    %{~else}
    curl --fail ${var.allow_unauthenticated ? "" : "--header \"Authorization: Bearer $(gcloud auth print-identity-token)\" "}$EXECUTOR_URL/rest/executor/worker
    %{~endif}
  EOT
}
