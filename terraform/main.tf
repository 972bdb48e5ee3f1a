# This folder is a root for `make deploy`. To use the module in a configuration of yours, see examples/module.
module "cloud_executor" {
  source = "./modules/cloud_executor"

  project_id             = var.project_id
  region                 = var.region
  name                   = var.name
  labels                 = var.labels
  allow_unauthenticated  = var.allow_unauthenticated
  invokers               = var.invokers
  require_nonce          = var.require_nonce
  domain                 = var.domain
  iap                    = var.iap
  armor                  = var.armor
  requests_per_minute    = var.requests_per_minute
  cors_origins           = var.cors_origins
  function_limits        = var.function_limits
  list_all_blobs         = var.list_all_blobs
  bucket_name            = var.bucket_name
  soft_delete_days       = var.soft_delete_days
  kms_key                = var.kms_key
  firestore_database     = var.firestore_database
  point_in_time_recovery = var.point_in_time_recovery
  delete_protection      = var.delete_protection
  alert_emails           = var.alert_emails
  oldest_job_minutes     = var.oldest_job_minutes
  budget                 = var.budget
  build                  = var.build
  longest_job_seconds    = var.longest_job_seconds
  lease_seconds          = var.lease_seconds
  max_delivery_attempts  = var.max_delivery_attempts
  worker_image           = var.worker_image
  worker_os_image        = var.worker_os_image
  functions_image        = var.functions_image
  job_env                = var.job_env
  pools                  = var.pools
  worker_subnet_range    = var.worker_subnet_range
}
