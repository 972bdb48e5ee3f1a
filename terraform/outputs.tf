output "url" {
  description = "The URL of the API."
  value       = module.cloud_executor.url
}

output "bucket" {
  description = "The bucket that holds the blobs."
  value       = module.cloud_executor.bucket
}

output "staging_bucket" {
  description = "The bucket that holds uploads in flight and composed zips."
  value       = module.cloud_executor.staging_bucket
}

output "registry" {
  description = "The registry for images."
  value       = module.cloud_executor.registry
}

output "worker_image" {
  description = "The image that new workers run."
  value       = module.cloud_executor.worker_image
}

output "functions_image" {
  description = "The image that the functions run."
  value       = module.cloud_executor.functions_image
}

output "audience" {
  description = "The audience of identity tokens that callers of the API send. The client sends them with --google-identity."
  value       = module.cloud_executor.audience
}

output "function_urls" {
  description = "The URL of each function."
  value       = module.cloud_executor.function_urls
}

output "accounts" {
  description = "The e-mail address of each service account."
  value       = module.cloud_executor.accounts
}

output "topics" {
  description = "The Pub/Sub topic of each worker pool."
  value       = module.cloud_executor.topics
}

output "pool_labels" {
  description = "The labels of each worker pool."
  value       = module.cloud_executor.pool_labels
}

output "dead_letter_topic" {
  description = "The Pub/Sub topic of jobs that were delivered too often."
  value       = module.cloud_executor.dead_letter_topic
}

output "groups" {
  description = "The instance group of each worker pool."
  value       = module.cloud_executor.groups
}

output "address" {
  description = "The address for the domain's A record. Null without a domain."
  value       = module.cloud_executor.address
}

output "subscriptions" {
  description = "The Pub/Sub subscription of each worker pool."
  value       = module.cloud_executor.subscriptions
}

output "iap_audiences" {
  description = "With `domain` and `iap`: the audiences of Identity-Aware Proxy's assertions, for `google_audiences`."
  value       = module.cloud_executor.iap_audiences
}

output "admin_token_command" {
  description = "The command that prints the administrator's token. Null without one."
  value       = module.cloud_executor.admin_token_command
}

output "nonce_secret" {
  description = "The Secret Manager secret that requests to the executor API must carry. Null without `require_nonce`."
  value       = module.cloud_executor.nonce_secret
}

output "try_it" {
  description = "Bash commands that run a first job."
  value       = module.cloud_executor.try_it
}
