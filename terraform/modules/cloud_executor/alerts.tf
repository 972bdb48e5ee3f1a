resource "google_monitoring_notification_channel" "email" {
  for_each = var.alert_emails

  project      = var.project_id
  display_name = "${var.name}: ${each.key}"
  type         = "email"
  user_labels  = local.labels
  labels = {
    email_address = each.key
  }

  depends_on = [google_project_service.required]
}

resource "google_monitoring_alert_policy" "dead_letters" {
  project               = var.project_id
  display_name          = "${var.name}: dead letters"
  combiner              = "OR"
  severity              = "ERROR"
  notification_channels = local.channels
  user_labels           = local.labels

  conditions {
    display_name = "a job was delivered too often and has failed"
    condition_threshold {
      filter          = "resource.type = \"pubsub_subscription\" AND metric.type = \"pubsub.googleapis.com/subscription/dead_letter_message_count\" AND resource.label.subscription_id = ${local.subscription_filter}"
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "0s"
      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_SUM"
        cross_series_reducer = "REDUCE_SUM"
        group_by_fields      = ["resource.label.subscription_id"]
      }
    }
  }

  documentation {
    content = "No worker of the pool could finish a job. ${local.runbook}"
  }
  depends_on = [google_project_service.required]
}

resource "google_monitoring_alert_policy" "oldest_job" {
  project               = var.project_id
  display_name          = "${var.name}: a job waits or runs too long"
  combiner              = "OR"
  severity              = "WARNING"
  notification_channels = local.channels
  user_labels           = local.labels

  conditions {
    display_name = "the oldest message has been unacked for more than ${var.oldest_job_minutes} minutes"
    condition_threshold {
      filter          = "resource.type = \"pubsub_subscription\" AND metric.type = \"pubsub.googleapis.com/subscription/oldest_unacked_message_age\" AND resource.label.subscription_id = ${local.subscription_filter}"
      comparison      = "COMPARISON_GT"
      threshold_value = var.oldest_job_minutes * 60
      duration        = "300s"
      aggregations {
        alignment_period   = "300s"
        per_series_aligner = "ALIGN_MAX"
      }
    }
  }

  documentation {
    content = "A message stays unacked while its job waits or runs. ${local.runbook}"
  }
  depends_on = [google_project_service.required]
}

# The age of the oldest unacked message above covers running jobs too, so its limit must exceed the longest job.
resource "google_monitoring_alert_policy" "waiting_job" {
  project               = var.project_id
  display_name          = "${var.name}: a job waits too long"
  combiner              = "OR"
  severity              = "WARNING"
  notification_channels = local.channels
  user_labels           = local.labels

  conditions {
    display_name = "the oldest job that no worker has claimed has waited for more than ${var.waiting_job_minutes} minutes"
    condition_threshold {
      filter          = "resource.type = \"cloud_run_revision\" AND metric.type = \"logging.googleapis.com/user/${google_logging_metric.waiting_seconds.name}\""
      comparison      = "COMPARISON_GT"
      threshold_value = var.waiting_job_minutes * 60
      duration        = "300s"

      # When no job waits, nothing is logged.
      evaluation_missing_data = "EVALUATION_MISSING_DATA_INACTIVE"
      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_DELTA"
        cross_series_reducer = "REDUCE_MEAN" # of the samples themselves; a percentile is only known to within a bucket
        group_by_fields      = ["metric.label.pool"]
      }
    }
  }

  alert_strategy {
    auto_close = "3600s"
  }

  documentation {
    content = "The pool has no free slot: its VMs are all busy, do not start, or take no jobs. The label \"pool\" names it. ${local.runbook}"
  }
  depends_on = [google_project_service.required]
}

resource "google_monitoring_alert_policy" "error_ratio" {
  project               = var.project_id
  display_name          = "${var.name}: requests fail"
  combiner              = "AND"
  severity              = "ERROR"
  notification_channels = local.channels
  user_labels           = local.labels

  conditions {
    display_name = "more than 5 % of the requests in ten minutes returned a 5xx"
    condition_threshold {
      filter             = "resource.type = \"cloud_run_revision\" AND metric.type = \"run.googleapis.com/request_count\" AND resource.label.service_name = ${local.service_filter} AND metric.label.response_code_class = \"5xx\""
      denominator_filter = "resource.type = \"cloud_run_revision\" AND metric.type = \"run.googleapis.com/request_count\" AND resource.label.service_name = ${local.service_filter}"
      comparison         = "COMPARISON_GT"
      threshold_value    = 0.05
      duration           = "0s"
      aggregations {
        alignment_period     = "600s"
        per_series_aligner   = "ALIGN_SUM"
        cross_series_reducer = "REDUCE_SUM"
      }
      denominator_aggregations {
        alignment_period     = "600s"
        per_series_aligner   = "ALIGN_SUM"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  # Without a minimum, one failed request on a quiet night would raise the alert.
  conditions {
    display_name = "at least 5 requests in ten minutes returned a 5xx"
    condition_threshold {
      filter          = "resource.type = \"cloud_run_revision\" AND metric.type = \"run.googleapis.com/request_count\" AND resource.label.service_name = ${local.service_filter} AND metric.label.response_code_class = \"5xx\""
      comparison      = "COMPARISON_GT"
      threshold_value = 4
      duration        = "0s"
      aggregations {
        alignment_period     = "600s"
        per_series_aligner   = "ALIGN_SUM"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  documentation {
    content = "The API, or a service that it depends on, has an error. ${local.runbook}"
  }
  depends_on = [google_project_service.required]
}

resource "google_monitoring_alert_policy" "no_worker" {
  for_each = var.pools

  project               = var.project_id
  display_name          = "${var.name}: the pool ${each.key} has jobs but no worker"
  combiner              = "AND"
  severity              = "ERROR"
  notification_channels = local.channels
  user_labels           = merge(local.labels, { pool = each.key })

  conditions {
    display_name = "jobs have been waiting for 20 minutes"
    condition_threshold {
      filter          = "resource.type = \"pubsub_subscription\" AND metric.type = \"pubsub.googleapis.com/subscription/num_undelivered_messages\" AND resource.label.subscription_id = \"${google_pubsub_subscription.pool[each.key].name}\""
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "1200s"
      aggregations {
        alignment_period   = "60s"
        per_series_aligner = "ALIGN_MIN"
      }
    }
  }

  conditions {
    display_name = "the pool has had no VM for 20 minutes"
    condition_threshold {
      filter                  = "resource.type = \"instance_group\" AND metric.type = \"compute.googleapis.com/instance_group/size\" AND resource.label.instance_group_name = \"${google_compute_region_instance_group_manager.pool[each.key].name}\""
      comparison              = "COMPARISON_LT"
      threshold_value         = 1
      duration                = "1200s"
      evaluation_missing_data = "EVALUATION_MISSING_DATA_ACTIVE" # an empty group may have no data
      aggregations {
        alignment_period   = "60s"
        per_series_aligner = "ALIGN_MAX"
      }
    }
  }

  documentation {
    content = "No VM could be created, or VMs stop at once. ${local.runbook}"
  }
  depends_on = [google_project_service.required]
}

resource "google_monitoring_alert_policy" "no_machine" {
  project               = var.project_id
  display_name          = "${var.name}: a VM could not be created"
  combiner              = "OR"
  severity              = "WARNING"
  notification_channels = local.channels
  user_labels           = local.labels

  conditions {
    display_name = "Compute Engine rejected a VM, for example because of a quota or a zone without capacity"
    condition_matched_log {
      filter = "severity>=ERROR AND protoPayload.methodName=~\"compute\\.instances\\.insert$\" AND protoPayload.resourceName=~\"/instances/${var.name}-(${join("|", sort(keys(var.pools)))})-\""
      label_extractors = {
        reason = "EXTRACT(protoPayload.status.message)"
      }
    }
  }

  alert_strategy {
    auto_close = "3600s"
    notification_rate_limit {
      period = "3600s"
    }
  }

  documentation {
    content = "The label \"reason\" has Google's message. ${local.runbook}"
  }
  depends_on = [google_project_service.required]
}

resource "google_monitoring_alert_policy" "fleet_at_maximum" {
  for_each = var.pools

  project               = var.project_id
  display_name          = "${var.name}: the pool ${each.key} cannot grow"
  combiner              = "OR"
  severity              = "WARNING"
  notification_channels = local.channels
  user_labels           = merge(local.labels, { pool = each.key })

  conditions {
    display_name = "the pool has had its maximum of ${each.value.max_workers} workers for 30 minutes"
    condition_threshold {
      filter          = "resource.type = \"instance_group\" AND metric.type = \"compute.googleapis.com/instance_group/size\" AND resource.label.instance_group_name = \"${google_compute_region_instance_group_manager.pool[each.key].name}\""
      comparison      = "COMPARISON_GT"
      threshold_value = each.value.max_workers - 1
      duration        = "1800s"
      aggregations {
        alignment_period   = "300s"
        per_series_aligner = "ALIGN_MIN"
      }
    }
  }

  documentation {
    content = "Jobs may be waiting for a slot. ${local.runbook}"
  }
  depends_on = [google_project_service.required]
}

resource "google_billing_budget" "monthly" {
  count = var.budget == null ? 0 : 1

  billing_account = var.budget.billing_account
  display_name    = "${var.name}: ${var.project_id}"

  budget_filter {
    projects = ["projects/${data.google_project.this.number}"]
  }

  amount {
    specified_amount {
      units = tostring(var.budget.monthly_amount)
    }
  }

  dynamic "threshold_rules" {
    for_each = [0.5, 0.9, 1.0]
    content {
      threshold_percent = threshold_rules.value
    }
  }

  dynamic "all_updates_rule" {
    for_each = length(local.channels) == 0 ? [] : [local.channels]
    content {
      monitoring_notification_channels = all_updates_rule.value
    }
  }

  depends_on = [google_project_service.required]
}
