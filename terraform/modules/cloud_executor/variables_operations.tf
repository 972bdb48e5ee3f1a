# Monitoring ----------------------------------------------------------------------------------------------------------

variable "alert_emails" {
  description = "Email addresses that receive alerts. Empty: alerts appear only in the console."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for address in var.alert_emails : can(regex("^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$", address))])
    error_message = "alert_emails must be email addresses."
  }
}

variable "oldest_job_minutes" {
  description = "Time after which a job that is still waiting or running raises an alert, in minutes."
  type        = number
  default     = 1440
  nullable    = false

  validation {
    condition     = var.oldest_job_minutes >= 5 && var.oldest_job_minutes <= 20160
    error_message = "oldest_job_minutes must be from 5 to 20160 (two weeks)."
  }
}

variable "waiting_job_minutes" {
  description = "Time after which a job that no worker has claimed raises an alert, in minutes."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = var.waiting_job_minutes >= 5 && var.waiting_job_minutes <= 20160
    error_message = "waiting_job_minutes must be from 5 to 20160 (two weeks)."
  }
}

variable "budget" {
  description = "A monthly budget for the project, in the billing account's currency, with alerts at 50, 90, and 100 percent. Null: no budget."
  type = object({
    billing_account = string
    monthly_amount  = number
  })
  default = null

  validation {
    condition     = var.budget == null || try(can(regex("^[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}$", var.budget.billing_account)) && var.budget.monthly_amount >= 1 && floor(var.budget.monthly_amount) == var.budget.monthly_amount, false)
    error_message = "budget must have a billing_account such as \"012345-6789AB-CDEF01\" and a whole monthly_amount of at least 1."
  }
}

# Continuous deployment -----------------------------------------------------------------------------------------------

variable "build" {
  description = <<-EOT
    A Cloud Build trigger that tests, builds, and deploys every push to a branch. Null: no trigger, and no account for it.

    - `repository`: the full name of a repository that is connected to Cloud Build (2nd generation).
    - `branch`: a regular expression for the branch.
    - `state_bucket`: the bucket for Terraform's state.
    - `require_approval`: whether a person must approve each build.
  EOT
  type = object({
    repository       = string
    branch           = optional(string, "^main$")
    state_bucket     = string
    require_approval = optional(bool, true)
  })
  default = null

  validation {
    condition     = var.build == null || can(regex("^projects/[^/]+/locations/[^/]+/connections/[^/]+/repositories/[^/]+$", var.build.repository))
    error_message = "build must have a repository such as \"projects/p/locations/us-central1/connections/c/repositories/r\"."
  }
  validation {
    condition     = var.build == null || try(split("/", var.build.repository)[3] == var.region, true)
    error_message = "build must have a repository whose connection is in the region, because the trigger is."
  }
}
