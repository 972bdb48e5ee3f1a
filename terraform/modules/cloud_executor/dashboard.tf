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
      title   = "Age of the oldest waiting job (s)"
      filter  = "metric.type = \"logging.googleapis.com/user/${google_logging_metric.waiting_seconds.name}\""
      aligner = "ALIGN_PERCENTILE_95"
      groups  = ["metric.label.pool"]
      plot    = "LINE"
    },
    {
      title   = "Age of the oldest waiting or running job (s)"
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
      filter  = "resource.type = \"firestore.googleapis.com/Database\" AND resource.label.database_id = \"${var.firestore_database}\" AND metric.type = \"firestore.googleapis.com/document/write_count\""
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
