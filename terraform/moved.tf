# Earlier versions had these resources in the root.

moved {
  from = google_artifact_registry_repository.images
  to   = module.cloud_executor.google_artifact_registry_repository.images
}

moved {
  from = google_artifact_registry_repository_iam_member.deployer
  to   = module.cloud_executor.google_artifact_registry_repository_iam_member.deployer
}

moved {
  from = google_artifact_registry_repository_iam_member.this
  to   = module.cloud_executor.google_artifact_registry_repository_iam_member.this
}

moved {
  from = google_billing_budget.monthly
  to   = module.cloud_executor.google_billing_budget.monthly
}

moved {
  from = google_cloud_run_v2_service.this
  to   = module.cloud_executor.google_cloud_run_v2_service.this
}

moved {
  from = google_cloud_run_v2_service_iam_member.dead_letter
  to   = module.cloud_executor.google_cloud_run_v2_service_iam_member.dead_letter
}

moved {
  from = google_cloud_run_v2_service_iam_member.invoker
  to   = module.cloud_executor.google_cloud_run_v2_service_iam_member.invoker
}

moved {
  from = google_cloud_run_v2_service_iam_member.sweep
  to   = module.cloud_executor.google_cloud_run_v2_service_iam_member.sweep
}

moved {
  from = google_cloud_scheduler_job.sweep
  to   = module.cloud_executor.google_cloud_scheduler_job.sweep
}

moved {
  from = google_cloudbuild_trigger.deploy
  to   = module.cloud_executor.google_cloudbuild_trigger.deploy
}

moved {
  from = google_compute_backend_service.api
  to   = module.cloud_executor.google_compute_backend_service.api
}

moved {
  from = google_compute_firewall.deny_ingress
  to   = module.cloud_executor.google_compute_firewall.deny_ingress
}

moved {
  from = google_compute_firewall.health_checks
  to   = module.cloud_executor.google_compute_firewall.health_checks
}

moved {
  from = google_compute_firewall.own_health_checks
  to   = module.cloud_executor.google_compute_firewall.own_health_checks
}

moved {
  from = google_compute_global_address.api
  to   = module.cloud_executor.google_compute_global_address.api
}

moved {
  from = google_compute_global_forwarding_rule.http
  to   = module.cloud_executor.google_compute_global_forwarding_rule.http
}

moved {
  from = google_compute_global_forwarding_rule.https
  to   = module.cloud_executor.google_compute_global_forwarding_rule.https
}

moved {
  from = google_compute_health_check.worker
  to   = module.cloud_executor.google_compute_health_check.worker
}

moved {
  from = google_compute_managed_ssl_certificate.api
  to   = module.cloud_executor.google_compute_managed_ssl_certificate.api
}

moved {
  from = google_compute_network.workers
  to   = module.cloud_executor.google_compute_network.workers
}

moved {
  from = google_compute_region_autoscaler.pool
  to   = module.cloud_executor.google_compute_region_autoscaler.pool
}

moved {
  from = google_compute_region_instance_group_manager.pool
  to   = module.cloud_executor.google_compute_region_instance_group_manager.pool
}

moved {
  from = google_compute_region_instance_template.pool
  to   = module.cloud_executor.google_compute_region_instance_template.pool
}

moved {
  from = google_compute_region_network_endpoint_group.api
  to   = module.cloud_executor.google_compute_region_network_endpoint_group.api
}

moved {
  from = google_compute_router.workers
  to   = module.cloud_executor.google_compute_router.workers
}

moved {
  from = google_compute_router_nat.workers
  to   = module.cloud_executor.google_compute_router_nat.workers
}

moved {
  from = google_compute_security_policy.api
  to   = module.cloud_executor.google_compute_security_policy.api
}

moved {
  from = google_compute_ssl_policy.api
  to   = module.cloud_executor.google_compute_ssl_policy.api
}

moved {
  from = google_compute_subnetwork.workers
  to   = module.cloud_executor.google_compute_subnetwork.workers
}

moved {
  from = google_compute_target_http_proxy.redirect
  to   = module.cloud_executor.google_compute_target_http_proxy.redirect
}

moved {
  from = google_compute_target_https_proxy.api
  to   = module.cloud_executor.google_compute_target_https_proxy.api
}

moved {
  from = google_compute_url_map.api
  to   = module.cloud_executor.google_compute_url_map.api
}

moved {
  from = google_compute_url_map.redirect
  to   = module.cloud_executor.google_compute_url_map.redirect
}

moved {
  from = google_firestore_database.jobs
  to   = module.cloud_executor.google_firestore_database.jobs
}

moved {
  from = google_firestore_field.jobs
  to   = module.cloud_executor.google_firestore_field.jobs
}

moved {
  from = google_firestore_index.jobs
  to   = module.cloud_executor.google_firestore_index.jobs
}

moved {
  from = google_iap_web_backend_service_iam_member.api
  to   = module.cloud_executor.google_iap_web_backend_service_iam_member.api
}

moved {
  from = google_iap_web_cloud_run_service_iam_member.api
  to   = module.cloud_executor.google_iap_web_cloud_run_service_iam_member.api
}

moved {
  from = google_kms_crypto_key_iam_member.service_agents
  to   = module.cloud_executor.google_kms_crypto_key_iam_member.service_agents
}

moved {
  from = google_logging_metric.busy_slots
  to   = module.cloud_executor.google_logging_metric.busy_slots
}

moved {
  from = google_logging_metric.errors
  to   = module.cloud_executor.google_logging_metric.errors
}

moved {
  from = google_logging_metric.job_seconds
  to   = module.cloud_executor.google_logging_metric.job_seconds
}

moved {
  from = google_logging_metric.jobs
  to   = module.cloud_executor.google_logging_metric.jobs
}

moved {
  from = google_monitoring_alert_policy.dead_letters
  to   = module.cloud_executor.google_monitoring_alert_policy.dead_letters
}

moved {
  from = google_monitoring_alert_policy.error_ratio
  to   = module.cloud_executor.google_monitoring_alert_policy.error_ratio
}

moved {
  from = google_monitoring_alert_policy.fleet_at_maximum
  to   = module.cloud_executor.google_monitoring_alert_policy.fleet_at_maximum
}

moved {
  from = google_monitoring_alert_policy.no_machine
  to   = module.cloud_executor.google_monitoring_alert_policy.no_machine
}

moved {
  from = google_monitoring_alert_policy.no_worker
  to   = module.cloud_executor.google_monitoring_alert_policy.no_worker
}

moved {
  from = google_monitoring_alert_policy.oldest_job
  to   = module.cloud_executor.google_monitoring_alert_policy.oldest_job
}

moved {
  from = google_monitoring_dashboard.overview
  to   = module.cloud_executor.google_monitoring_dashboard.overview
}

moved {
  from = google_monitoring_notification_channel.email
  to   = module.cloud_executor.google_monitoring_notification_channel.email
}

moved {
  from = google_project_iam_custom_role.manage_groups
  to   = module.cloud_executor.google_project_iam_custom_role.manage_groups
}

moved {
  from = google_project_iam_custom_role.manage_queues
  to   = module.cloud_executor.google_project_iam_custom_role.manage_queues
}

moved {
  from = google_project_iam_member.deployer
  to   = module.cloud_executor.google_project_iam_member.deployer
}

moved {
  from = google_project_iam_member.manage_groups
  to   = module.cloud_executor.google_project_iam_member.manage_groups
}

moved {
  from = google_project_iam_member.manage_queues
  to   = module.cloud_executor.google_project_iam_member.manage_queues
}

moved {
  from = google_project_iam_member.this
  to   = module.cloud_executor.google_project_iam_member.this
}

moved {
  from = google_project_service.required
  to   = module.cloud_executor.google_project_service.required
}

moved {
  from = google_project_service_identity.agent
  to   = module.cloud_executor.google_project_service_identity.agent
}

moved {
  from = google_pubsub_subscription.dead_letter
  to   = module.cloud_executor.google_pubsub_subscription.dead_letter
}

moved {
  from = google_pubsub_subscription.dead_letter_push
  to   = module.cloud_executor.google_pubsub_subscription.dead_letter_push
}

moved {
  from = google_pubsub_subscription.pool
  to   = module.cloud_executor.google_pubsub_subscription.pool
}

moved {
  from = google_pubsub_subscription_iam_member.dead_letter
  to   = module.cloud_executor.google_pubsub_subscription_iam_member.dead_letter
}

moved {
  from = google_pubsub_subscription_iam_member.worker
  to   = module.cloud_executor.google_pubsub_subscription_iam_member.worker
}

moved {
  from = google_pubsub_topic.dead_letter
  to   = module.cloud_executor.google_pubsub_topic.dead_letter
}

moved {
  from = google_pubsub_topic.pool
  to   = module.cloud_executor.google_pubsub_topic.pool
}

moved {
  from = google_pubsub_topic_iam_member.dead_letter
  to   = module.cloud_executor.google_pubsub_topic_iam_member.dead_letter
}

moved {
  from = google_pubsub_topic_iam_member.publisher
  to   = module.cloud_executor.google_pubsub_topic_iam_member.publisher
}

moved {
  from = google_secret_manager_secret.nonce
  to   = module.cloud_executor.google_secret_manager_secret.nonce
}

moved {
  from = google_secret_manager_secret.pepper
  to   = module.cloud_executor.google_secret_manager_secret.pepper
}

moved {
  from = google_secret_manager_secret_iam_member.deployer
  to   = module.cloud_executor.google_secret_manager_secret_iam_member.deployer
}

moved {
  from = google_secret_manager_secret_iam_member.nonce
  to   = module.cloud_executor.google_secret_manager_secret_iam_member.nonce
}

moved {
  from = google_secret_manager_secret_version.nonce
  to   = module.cloud_executor.google_secret_manager_secret_version.nonce
}

moved {
  from = google_secret_manager_secret_version.pepper
  to   = module.cloud_executor.google_secret_manager_secret_version.pepper
}

moved {
  from = google_service_account.this
  to   = module.cloud_executor.google_service_account.this
}

moved {
  from = google_service_account_iam_member.deployer
  to   = module.cloud_executor.google_service_account_iam_member.deployer
}

moved {
  from = google_service_account_iam_member.push_tokens
  to   = module.cloud_executor.google_service_account_iam_member.push_tokens
}

moved {
  from = google_service_account_iam_member.sign_urls
  to   = module.cloud_executor.google_service_account_iam_member.sign_urls
}

moved {
  from = google_storage_bucket.blobs
  to   = module.cloud_executor.google_storage_bucket.blobs
}

moved {
  from = google_storage_bucket_iam_member.deployer
  to   = module.cloud_executor.google_storage_bucket_iam_member.deployer
}

moved {
  from = google_storage_bucket_iam_member.this
  to   = module.cloud_executor.google_storage_bucket_iam_member.this
}

moved {
  from = random_bytes.pepper
  to   = module.cloud_executor.random_bytes.pepper
}

moved {
  from = random_id.roles
  to   = module.cloud_executor.random_id.roles
}

moved {
  from = random_password.nonce
  to   = module.cloud_executor.random_password.nonce
}

# Earlier versions deployed these functions with Cloud Functions, from an archive in a bucket. They are not destroyed:
# docs/deployment.md says how to take over the functions, and to delete the bucket.
removed {
  from = google_cloudfunctions2_function.this
  lifecycle {
    destroy = false
  }
}

removed {
  from = google_storage_bucket.source
  lifecycle {
    destroy = false
  }
}

removed {
  from = google_storage_bucket_object.source
  lifecycle {
    destroy = false
  }
}
