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
  description = "Commands that run a first job, for bash."
  value       = <<-EOT
    export EXECUTOR_URL=${local.url}
    headers=()
    %{~if nonsensitive(var.iap != null)}
    : "$${ACCOUNT:?set it to a service account among the invokers in whose name you may act}"
    headers+=(--header "Authorization: Bearer $(gcloud auth print-identity-token --impersonate-service-account="$ACCOUNT" --audiences=${nonsensitive(try(var.iap.client_id, ""))} --include-email)")
    %{~else}
    %{~if !var.allow_unauthenticated}
    headers+=(--header "Authorization: Bearer $(gcloud auth print-identity-token)")
    %{~endif}
    %{~endif}
    %{~if var.require_nonce}
    export EXECUTOR_NONCE=$(gcloud secrets versions access latest --project=${var.project_id} --secret=${one(google_secret_manager_secret.nonce[*].secret_id)})
    headers+=(--header "x-executor-nonce: $EXECUTOR_NONCE")
    %{~endif}
    echo '{"cmd": "echo", "args": ["Hello"], "resultArtifacts": [{"name": "all", "resultPatterns": []}]}' >executor_config.json
    zip --quiet job.zip executor_config.json
    job=$(curl --fail --silent "$${headers[@]}" --data-binary @job.zip "$EXECUTOR_URL/rest/blob/createFile/job.zip" | cut -d '"' -f 2)
    curl --fail "$${headers[@]}" --request POST "$EXECUTOR_URL/rest/executor/create/$job"
    curl --fail "$${headers[@]}" "$EXECUTOR_URL/rest/executor/info/$job" # again, until it says SUCCESS: the first VM takes some minutes
  EOT
}
