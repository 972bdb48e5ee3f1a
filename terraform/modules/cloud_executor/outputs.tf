output "url" {
  description = "The URL of the API."
  value       = local.url
}

output "bucket" {
  description = "The bucket that holds the blobs."
  value       = google_storage_bucket.blobs.name
}

output "staging_bucket" {
  description = "The bucket that holds uploads in flight and composed zips."
  value       = google_storage_bucket.staging.name
}

output "registry" {
  description = "The registry for images."
  value       = local.registry
}

output "worker_image" {
  description = "The image that new workers run."
  value       = local.worker_image
}

output "functions_image" {
  description = "The image that the functions run."
  value       = local.functions_image
}

output "audience" {
  description = "The audience of identity tokens that callers of the API send. The client sends them with --google-identity."
  value       = local.audience
}

output "iap_audiences" {
  description = "With `domain` and `iap`: the audiences of Identity-Aware Proxy's assertions, for `google_audiences`."
  value = local.iap != "backend" ? [] : [
    for backend in google_compute_backend_service.api : "/projects/${data.google_project.this.number}/global/backendServices/${backend.generated_id}"
  ]
}

output "function_urls" {
  description = "The URL of each function."
  value       = { for name, service in google_cloud_run_v2_service.this : name => service.uri }
}

output "accounts" {
  description = "The e-mail address of each service account."
  value       = { for name, account in google_service_account.this : name => account.email }
}

output "topics" {
  description = "The Pub/Sub topic of each worker pool."
  value       = { for name, topic in google_pubsub_topic.pool : name => topic.name }
}

output "pool_labels" {
  description = "The labels of each worker pool."
  value       = { for name, pool in var.pools : name => pool.labels }
}

output "dead_letter_topic" {
  description = "The Pub/Sub topic of jobs that were delivered too often."
  value       = google_pubsub_topic.dead_letter.name
}

output "groups" {
  description = "The instance group of each worker pool."
  value       = { for name, group in google_compute_region_instance_group_manager.pool : name => group.name }
}

output "address" {
  description = "The address for the domain's A record. Null without a domain."
  value       = one(google_compute_global_address.api[*].address)
}

output "subscriptions" {
  description = "The Pub/Sub subscription of each worker pool."
  value       = { for name, subscription in google_pubsub_subscription.pool : name => subscription.name }
}

output "nonce_secret" {
  description = "The Secret Manager secret that requests to the executor API must carry. Null without `require_nonce`."
  value       = one(google_secret_manager_secret.nonce[*].secret_id)
}

output "admin_token_command" {
  description = "The command that prints the administrator's token. Null without one."
  value       = local.has_admin_token ? local.admin_token_command : null
}

locals {
  admin_token_command = "gcloud secrets versions access latest --project=${var.project_id} --secret=${var.name}-admin-token"

  # Cloud Run removes the signature of the token that it has checked, and leaves Authorization alone if there are both.
  identity_header = local.has_accounts ? "X-Serverless-Authorization" : "Authorization"

  try_it = <<-EOT
    export EXECUTOR_URL=${local.url}
    headers=()
    %{if local.iap == "service"~}
    : "$${ACCOUNT:?Set ACCOUNT to a service account that is one of the invokers and that you may impersonate.}"
    printf '{"iss": "%s", "sub": "%s", "aud": "%s/*", "iat": %d, "exp": %d}' "$ACCOUNT" "$ACCOUNT" "$EXECUTOR_URL" "$(date +%s)" "$(($(date +%s) + 3600))" >claims.json
    gcloud iam service-accounts sign-jwt --iam-account="$ACCOUNT" claims.json token.jwt
    headers+=(--header "Authorization: Bearer $(cat token.jwt)")
    %{else~}
    %{if local.iap == "backend"~}
    : "$${ACCOUNT:?Set ACCOUNT to a service account that is one of the invokers and that you may impersonate.}"
    headers+=(--header "Authorization: Bearer $(gcloud auth print-identity-token --impersonate-service-account="$ACCOUNT" --audiences=${nonsensitive(try(var.iap.client_id, ""))} --include-email)")
    %{else~}
    %{if !var.allow_unauthenticated~}
    headers+=(--header "${local.identity_header}: Bearer $(gcloud auth print-identity-token)")
    %{endif~}
    %{endif~}
    %{endif~}
    %{if var.require_nonce~}
    export EXECUTOR_NONCE=$(gcloud secrets versions access latest --project=${var.project_id} --secret=${one(google_secret_manager_secret.nonce[*].secret_id)})
    headers+=(--header "x-executor-nonce: $EXECUTOR_NONCE")
    %{endif~}
    %{if !local.is_open && !var.require_nonce && local.iap == null~}
    %{if local.has_tokens~}
    %{if local.has_admin_token~}
    export EXECUTOR_TOKEN=$${EXECUTOR_TOKEN:-$(${local.admin_token_command})}
    %{else~}
    : "$${EXECUTOR_TOKEN:?Set EXECUTOR_TOKEN to an access token of this server.}"
    %{endif~}
    headers+=(--header "x-api-token: $EXECUTOR_TOKEN")
    %{else~}
    : "$${ACCOUNT:?Set ACCOUNT to a service account that is one of the users and that you may impersonate.}"
    headers+=(--header "Authorization: Bearer $(gcloud auth print-identity-token --impersonate-service-account="$ACCOUNT" --audiences=${local.audience} --include-email)")
    %{endif~}
    %{endif~}
    echo '{"cmd": "echo", "args": ["Hello"], "resultArtifacts": [{"name": "all", "resultPatterns": []}]}' >executor_config.json
    zip --quiet job.zip executor_config.json
    job=$(curl --fail --silent "$${headers[@]}" --data-binary @job.zip "$EXECUTOR_URL/rest/blob/createFile/job.zip" | cut -d '"' -f 2)
    curl --fail "$${headers[@]}" --request POST "$EXECUTOR_URL/rest/executor/create/$job"
    curl --fail "$${headers[@]}" "$EXECUTOR_URL/rest/executor/info/$job" # repeat until the status is SUCCESS: the first VM takes a few minutes to start
  EOT
}

output "try_it" {
  description = "Bash commands that run a first job."
  value       = replace(local.try_it, "/\\n +/", "\n") # removes the indentation that the directives leave behind
}
