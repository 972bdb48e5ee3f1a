locals {
  # Log records of this deployment, and not of another one in the project.
  logged = "jsonPayload.deployment=\"${var.name}\""

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
  filter      = "${local.logged} AND jsonPayload.component=\"worker\" AND jsonPayload.action=\"finish\""

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
  filter          = "${local.logged} AND jsonPayload.component=\"worker\" AND jsonPayload.action=\"slots\""
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

# Each sweep logs this record for each pool for which a job waits. The age of the queue's oldest message covers running
# jobs too.
resource "google_logging_metric" "waiting_seconds" {
  project         = var.project_id
  name            = "${var.name}/waiting_seconds"
  description     = "Age of the oldest job that waits for a pool, in seconds, sampled once per minute"
  filter          = "${local.logged} AND jsonPayload.component=\"functions\" AND jsonPayload.action=\"wait\""
  value_extractor = "EXTRACT(jsonPayload.seconds)"

  metric_descriptor {
    metric_kind  = "DELTA"
    value_type   = "DISTRIBUTION"
    unit         = "s"
    display_name = "Age of the oldest waiting job"
    labels {
      key         = "pool"
      value_type  = "STRING"
      description = "The worker pool"
    }
  }
  label_extractors = {
    pool = "EXTRACT(jsonPayload.pool)"
  }

  # The buckets cover one second to twelve days.
  bucket_options {
    exponential_buckets {
      num_finite_buckets = 40
      growth_factor      = 1.4142
      scale              = 1
    }
  }

  depends_on = [google_project_service.required]
}

resource "google_logging_metric" "errors" {
  project     = var.project_id
  name        = "${var.name}/errors"
  description = "Number of errors that functions and workers logged"
  filter      = "${local.logged} AND (jsonPayload.component=\"worker\" OR jsonPayload.component=\"functions\") AND severity>=ERROR"

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
