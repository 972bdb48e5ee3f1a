# The variables of modules/cloud_executor, which describes and checks them. Null is its default.

variable "project_id" {
  type = string
}

variable "region" {
  type    = string
  default = null
}

variable "name" {
  type    = string
  default = null
}

variable "labels" {
  type    = any
  default = null
}

variable "allow_unauthenticated" {
  type    = any
  default = null
}

variable "invokers" {
  type    = any
  default = null
}

variable "require_nonce" {
  type    = any
  default = null
}

variable "auth_methods" {
  type    = any
  default = null
}

variable "admin_token" {
  type    = any
  default = null
}

variable "users" {
  type    = any
  default = null
}

variable "admins" {
  type    = any
  default = null
}

variable "google_audiences" {
  type    = any
  default = null
}

variable "quotas" {
  type    = any
  default = null
}

variable "domain" {
  type    = string
  default = null
}

variable "iap" {
  type      = any
  default   = null
  sensitive = true
}

variable "armor" {
  type    = any
  default = null
}

variable "requests_per_minute" {
  type    = any
  default = null
}

variable "cors_origins" {
  type    = any
  default = null
}

variable "function_limits" {
  type    = any
  default = null
}

variable "list_all_blobs" {
  type    = any
  default = null
}

variable "bucket_name" {
  type    = string
  default = null
}

variable "keep_jobs_days" {
  type    = any
  default = null
}

variable "soft_delete_days" {
  type    = any
  default = null
}

variable "kms_key" {
  type    = string
  default = null
}

variable "firestore_database" {
  type    = string
  default = null
}

variable "point_in_time_recovery" {
  type    = any
  default = null
}

variable "delete_protection" {
  type    = any
  default = null
}

variable "alert_emails" {
  type    = any
  default = null
}

variable "oldest_job_minutes" {
  type    = any
  default = null
}

variable "waiting_job_minutes" {
  type    = any
  default = null
}

variable "budget" {
  type    = any
  default = null
}

variable "build" {
  type    = any
  default = null
}

variable "longest_job_seconds" {
  type    = any
  default = null
}

variable "lease_seconds" {
  type    = any
  default = null
}

variable "queue_window" {
  type    = any
  default = null
}

variable "max_delivery_attempts" {
  type    = any
  default = null
}

variable "worker_image" {
  type    = string
  default = null
}

variable "worker_os_image" {
  type    = string
  default = null
}

variable "functions_image" {
  type    = string
  default = null
}

variable "job_env" {
  type    = any
  default = null
}

variable "pools" {
  type    = any
  default = null
}

variable "worker_subnet_range" {
  type    = string
  default = null
}
