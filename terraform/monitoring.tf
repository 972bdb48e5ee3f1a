locals {
  # Lists of names in the filter syntax of Cloud Monitoring.
  service_filter      = "one_of(${join(", ", [for service in sort(local.services) : "\"${var.name}-${service}\""])})"
  function_filter     = "one_of(${join(", ", [for function in sort(keys(local.functions)) : "\"${var.name}-${function}\""])})"
  subscription_filter = "one_of(${join(", ", [for pool in sort(keys(var.pools)) : "\"${var.name}-${pool}\""])})"
  group_filter        = local.subscription_filter
  bucket_filter       = "resource.type = \"gcs_bucket\" AND resource.label.bucket_name = \"${google_storage_bucket.blobs.name}\""

  channels = [for channel in google_monitoring_notification_channel.email : channel.id]
  runbook  = "See docs/operations.md, \"Alerts\"."
}

# Log-based metrics ---------------------------------------------------------------------------------------------------

resource "google_logging_metric" "jobs" {
  project     = var.project_id
  name        = "${var.name}/jobs"
  description = "Number of jobs that ended on our workers, by outcome"
  filter      = "jsonPayload.component=\"worker\" AND jsonPayload.action=\"finish\""

  metric_descriptor {
    metric_kind  = "DELTA"
    value_type   = "INT64"
    unit         = "1"
    display_name = "Jobs by outcome"
    labels {
      key         = "status"
      value_type  = "STRING"
      description = "Final status of the job"
    }
  }
  label_extractors = {
    status = "EXTRACT(jsonPayload.status)"
  }

  depends_on = [google_project_service.required]
}

resource "google_logging_metric" "job_seconds" {
  project         = var.project_id
  name            = "${var.name}/job_seconds"
  description     = "Duration of jobs on our workers, from claim to recorded outcome, in seconds"
  filter          = google_logging_metric.jobs.filter
  value_extractor = "EXTRACT(jsonPayload.seconds)"

  metric_descriptor {
    metric_kind  = "DELTA"
    value_type   = "DISTRIBUTION"
    unit         = "s"
    display_name = "Duration of jobs"
    labels {
      key         = "status"
      value_type  = "STRING"
      description = "Final status of the job"
    }
  }
  label_extractors = google_logging_metric.jobs.label_extractors

  # The buckets cover 10 ms to one day.
  bucket_options {
    exponential_buckets {
      num_finite_buckets = 47
      growth_factor      = 1.4142
      scale              = 0.01
    }
  }

  depends_on = [google_project_service.required]
}

# Each worker logs this record once per minute.
resource "google_logging_metric" "busy_slots" {
  project         = var.project_id
  name            = "${var.name}/busy_slots"
  description     = "Number of a worker's slots that have a job, sampled once per minute"
  filter          = "jsonPayload.component=\"worker\" AND jsonPayload.action=\"slots\""
  value_extractor = "EXTRACT(jsonPayload.busy)"

  metric_descriptor {
    metric_kind  = "DELTA"
    value_type   = "DISTRIBUTION"
    unit         = "1"
    display_name = "Busy slots of a worker"
    labels {
      key         = "pool"
      value_type  = "STRING"
      description = "The worker pool"
    }
  }
  label_extractors = {
    pool = "EXTRACT(jsonPayload.pool)"
  }

  bucket_options {
    linear_buckets {
      num_finite_buckets = 64
      width              = 1
      offset             = 0
    }
  }

  depends_on = [google_project_service.required]
}

resource "google_logging_metric" "errors" {
  project     = var.project_id
  name        = "${var.name}/errors"
  description = "Number of errors that functions and workers logged"
  filter      = "(jsonPayload.component=\"worker\" OR jsonPayload.component=\"functions\") AND severity>=ERROR"

  metric_descriptor {
    metric_kind  = "DELTA"
    value_type   = "INT64"
    unit         = "1"
    display_name = "Errors logged"
    labels {
      key         = "component"
      value_type  = "STRING"
      description = "The component that logged the error: functions or worker"
    }
  }
  label_extractors = {
    component = "EXTRACT(jsonPayload.component)"
  }

  depends_on = [google_project_service.required]
}

# Alerts --------------------------------------------------------------------------------------------------------------

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

resource "google_monitoring_alert_policy" "error_ratio" {
  project               = var.project_id
  display_name          = "${var.name}: requests fail"
  combiner              = "OR"
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

  documentation {
    content = "The API, or a service that it depends on, has an error. ${local.runbook}"
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

# Dashboard -----------------------------------------------------------------------------------------------------------

locals {
  charts = [
    {
      title   = "Jobs by outcome"
      filter  = "metric.type = \"logging.googleapis.com/user/${google_logging_metric.jobs.name}\""
      aligner = "ALIGN_SUM"
      groups  = ["metric.label.status"]
      plot    = "STACKED_BAR"
    },
    {
      title   = "Duration of jobs, 95th percentile (s)"
      filter  = "metric.type = \"logging.googleapis.com/user/${google_logging_metric.job_seconds.name}\""
      aligner = "ALIGN_PERCENTILE_95"
      groups  = ["metric.label.status"]
      plot    = "LINE"
    },
    {
      title   = "Busy slots of a worker, 95th percentile"
      filter  = "metric.type = \"logging.googleapis.com/user/${google_logging_metric.busy_slots.name}\""
      aligner = "ALIGN_PERCENTILE_95"
      groups  = ["metric.label.pool"]
      plot    = "LINE"
    },
    {
      title   = "Backlog: jobs waiting or running"
      filter  = "resource.type = \"pubsub_subscription\" AND metric.type = \"pubsub.googleapis.com/subscription/num_undelivered_messages\" AND resource.label.subscription_id = ${local.subscription_filter}"
      aligner = "ALIGN_MAX"
      groups  = ["resource.label.subscription_id"]
      plot    = "LINE"
    },
    {
      title   = "Age of the oldest job in the queue (s)"
      filter  = "resource.type = \"pubsub_subscription\" AND metric.type = \"pubsub.googleapis.com/subscription/oldest_unacked_message_age\" AND resource.label.subscription_id = ${local.subscription_filter}"
      aligner = "ALIGN_MAX"
      groups  = ["resource.label.subscription_id"]
      plot    = "LINE"
    },
    {
      title   = "Workers"
      filter  = "resource.type = \"instance_group\" AND metric.type = \"compute.googleapis.com/instance_group/size\" AND resource.label.instance_group_name = ${local.group_filter}"
      aligner = "ALIGN_MAX"
      groups  = ["resource.label.instance_group_name"]
      plot    = "STACKED_AREA"
    },
    {
      title   = "Requests by response class (1/s)"
      filter  = "resource.type = \"cloud_run_revision\" AND metric.type = \"run.googleapis.com/request_count\" AND resource.label.service_name = ${local.service_filter}"
      aligner = "ALIGN_RATE"
      groups  = ["metric.label.response_code_class"]
      plot    = "LINE"
    },
    {
      title   = "Latency, 95th percentile (ms)"
      filter  = "resource.type = \"cloud_run_revision\" AND metric.type = \"run.googleapis.com/request_latencies\" AND resource.label.service_name = ${local.service_filter}"
      aligner = "ALIGN_PERCENTILE_95"
      groups  = ["resource.label.service_name"]
      plot    = "LINE"
    },
    {
      title   = "Errors logged"
      filter  = "metric.type = \"logging.googleapis.com/user/${google_logging_metric.errors.name}\""
      aligner = "ALIGN_SUM"
      groups  = ["metric.label.component"]
      plot    = "STACKED_BAR"
    },
    {
      title   = "Dead letters"
      filter  = "resource.type = \"pubsub_subscription\" AND metric.type = \"pubsub.googleapis.com/subscription/dead_letter_message_count\" AND resource.label.subscription_id = ${local.subscription_filter}"
      aligner = "ALIGN_SUM"
      groups  = ["resource.label.subscription_id"]
      plot    = "STACKED_BAR"
    },
    {
      title   = "Spend: billable function instance time (s/s)"
      filter  = "resource.type = \"cloud_run_revision\" AND metric.type = \"run.googleapis.com/container/billable_instance_time\" AND resource.label.service_name = ${local.function_filter}"
      aligner = "ALIGN_RATE"
      groups  = ["resource.label.service_name"]
      plot    = "STACKED_AREA"
    },
    {
      title   = "Spend: bytes stored"
      filter  = "metric.type = \"storage.googleapis.com/storage/total_bytes\" AND ${local.bucket_filter}"
      aligner = "ALIGN_MEAN"
      groups  = ["resource.label.bucket_name"]
      plot    = "LINE"
    },
    {
      title   = "Spend: bytes sent to clients (B/s)"
      filter  = "metric.type = \"storage.googleapis.com/network/sent_bytes_count\" AND ${local.bucket_filter}"
      aligner = "ALIGN_RATE"
      groups  = ["resource.label.bucket_name"]
      plot    = "LINE"
    },
    {
      title   = "Spend: documents written (1/s)"
      filter  = "metric.type = \"firestore.googleapis.com/document/write_count\""
      aligner = "ALIGN_RATE"
      groups  = ["metric.label.op"]
      plot    = "LINE"
    },
  ]
}

resource "google_monitoring_dashboard" "overview" {
  project = var.project_id

  dashboard_json = jsonencode({
    displayName = var.name
    labels      = { for key, value in local.labels : key => value }
    mosaicLayout = {
      columns = 12
      tiles = [
        for index, chart in local.charts : {
          xPos   = (index % 3) * 4
          yPos   = floor(index / 3) * 4
          width  = 4
          height = 4
          widget = {
            title = chart.title
            xyChart = {
              dataSets = [{
                plotType = chart.plot
                timeSeriesQuery = {
                  timeSeriesFilter = {
                    filter = chart.filter
                    aggregation = {
                      alignmentPeriod    = "60s"
                      perSeriesAligner   = chart.aligner
                      crossSeriesReducer = chart.aligner == "ALIGN_PERCENTILE_95" ? "REDUCE_MAX" : "REDUCE_SUM"
                      groupByFields      = chart.groups
                    }
                  }
                }
              }]
            }
          }
        }
      ]
    }
  })

  depends_on = [google_project_service.required]
}
