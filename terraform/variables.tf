# What is needed ------------------------------------------------------------------------------------------------------

variable "project_id" {
  description = "The Google Cloud project to deploy into. Billing must be enabled on it."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id must be a project's id: 6 to 30 lower-case letters, digits and hyphens, starting with a letter."
  }
}

variable "region" {
  description = "The region of everything: functions, bucket, database and workers."
  type        = string
  default     = "us-central1"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]{1,2}$", var.region))
    error_message = "region must be a region such as \"us-central1\", not a zone or a multi-region."
  }
}

# Names ---------------------------------------------------------------------------------------------------------------

variable "name" {
  description = "What the names of all resources start with. Another one makes a second, separate deployment in the same project, which needs a `firestore_database` of its own too."
  type        = string
  default     = "cloud-executor"
  nullable    = false

  validation {
    # The ids of service accounts have at most 30 letters, and ours end in at most 12.
    condition     = can(regex("^[a-z][a-z0-9-]{1,16}[a-z0-9]$", var.name))
    error_message = "name must have 3 to 18 lower-case letters, digits and hyphens, starting with a letter."
  }
}

variable "labels" {
  description = "Labels for everything that can have some, beside `application`."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition = alltrue([
      for key, value in var.labels :
      can(regex("^[a-z][a-z0-9_-]{0,62}$", key)) && can(regex("^[a-z0-9_-]{0,63}$", value)) && key != "application"
    ])
    error_message = "labels must have keys and values of at most 63 lower-case letters, digits, hyphens and underscores; \"application\" is ours."
  }
}

# Who may ask ---------------------------------------------------------------------------------------------------------

variable "allow_unauthenticated" {
  description = "Whether anybody may call the API without a Google identity. WebGME's clients need this: they know only the secret of `require_nonce`."
  type        = bool
  default     = false
  nullable    = false

  validation {
    condition     = !var.allow_unauthenticated || var.require_nonce
    error_message = "allow_unauthenticated needs require_nonce: otherwise anybody could run commands on your workers."
  }
}

variable "invokers" {
  description = "Who may call the API with a Google identity, such as `user:jane@example.com` or `group:lab@example.com`."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for member in var.invokers : can(regex("^(user|group|serviceAccount|domain|principal|principalSet):.+", member))])
    error_message = "invokers must be members such as \"user:jane@example.com\", \"group:...\", \"serviceAccount:...\" or \"domain:...\"; for everybody set allow_unauthenticated."
  }
}

variable "require_nonce" {
  description = "Whether requests to the executor API must carry the shared secret that is in Secret Manager, in the header `x-executor-nonce`."
  type        = bool
  default     = true
  nullable    = false

  validation {
    condition     = contains([true, false], var.require_nonce)
    error_message = "require_nonce must be true or false."
  }
}

# The address ---------------------------------------------------------------------------------------------------------

variable "domain" {
  description = "A domain name of yours. Given one, the API is served there by a load balancer with a managed certificate, by separate functions for blobs and jobs. Without: one function at its own URL, and no fixed cost."
  type        = string
  default     = null

  validation {
    condition     = var.domain == null || can(regex("^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z]{2,63}$", var.domain))
    error_message = "domain must be a full domain name in lower case, such as \"jobs.example.com\"."
  }
}

variable "iap" {
  description = "With `domain`: the OAuth client by which Identity-Aware Proxy signs people in before they reach the API. Null: no proxy."
  type = object({
    client_id     = string
    client_secret = string
  })
  default   = null
  sensitive = true

  validation {
    condition     = var.iap == null || var.domain != null
    error_message = "iap needs a domain: the proxy is a part of the load balancer."
  }
}

variable "armor" {
  description = "With `domain`: whether Cloud Armor limits the requests of each address and turns known attacks away."
  type        = bool
  default     = false
  nullable    = false

  validation {
    condition     = !var.armor || var.domain != null
    error_message = "armor needs a domain: Cloud Armor is a part of the load balancer."
  }
}

variable "requests_per_minute" {
  description = "With `armor`: how many requests a minute one address may send."
  type        = number
  default     = 6000
  nullable    = false

  validation {
    condition     = var.requests_per_minute >= 60 && var.requests_per_minute <= 1000000 && floor(var.requests_per_minute) == var.requests_per_minute
    error_message = "requests_per_minute must be a whole number from 60 to 1000000."
  }
}

variable "cors_origins" {
  description = "Origins of web pages that send to and read from the bucket directly, beside that of `domain`. Without a domain, name the API's own here too, once you know it."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for origin in var.cors_origins : can(regex("^https?://[^/*]+$", origin))])
    error_message = "cors_origins must be origins such as \"https://example.com\", without a path or a star."
  }
}

# The functions -------------------------------------------------------------------------------------------------------

variable "function_limits" {
  description = "Of each function that serves the API: memory (MiB), CPUs, requests at once per instance, instances at most, and instances kept warm, which cost money while idle."
  type = object({
    memory_mib    = optional(number, 1024)
    cpus          = optional(number, 1)
    concurrency   = optional(number, 16)
    max_instances = optional(number, 100)
    min_instances = optional(number, 0)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.function_limits.memory_mib >= 512 && var.function_limits.memory_mib <= 32768 && contains([1, 2, 4, 8], var.function_limits.cpus)
    error_message = "function_limits must have a memory_mib from 512 to 32768, and 1, 2, 4 or 8 cpus."
  }
  validation {
    condition     = var.function_limits.concurrency >= 1 && var.function_limits.concurrency <= 1000 && floor(var.function_limits.concurrency) == var.function_limits.concurrency
    error_message = "function_limits must have a concurrency from 1 to 1000, a whole number."
  }
  validation {
    condition     = var.function_limits.min_instances >= 0 && var.function_limits.max_instances >= max(1, var.function_limits.min_instances)
    error_message = "function_limits must have max_instances of at least 1, and no more min_instances than that."
  }
}

variable "list_all_blobs" {
  description = "Whether `GET /rest/blob/metadata?all=1` lists also the blobs that are not public."
  type        = bool
  default     = false
  nullable    = false

  validation {
    condition     = contains([true, false], var.list_all_blobs)
    error_message = "list_all_blobs must be true or false."
  }
}

# Data ----------------------------------------------------------------------------------------------------------------

variable "bucket_name" {
  description = "The name of the bucket for blobs. Null: `<project>-<name>-blobs`."
  type        = string
  default     = null

  validation {
    condition     = var.bucket_name == null || can(regex("^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$", var.bucket_name))
    error_message = "bucket_name must have 3 to 63 lower-case letters, digits, dots, hyphens and underscores."
  }
}

variable "soft_delete_days" {
  description = "For how many days the bucket retains what was deleted, by whomever: 0, or 7 to 90. Composed zips and parts of uploads are retained as long, and paid for."
  type        = number
  default     = 7
  nullable    = false

  validation {
    condition     = var.soft_delete_days == 0 || (var.soft_delete_days >= 7 && var.soft_delete_days <= 90)
    error_message = "soft_delete_days must be 0, or from 7 to 90."
  }
}

variable "kms_key" {
  description = "A Cloud KMS key in `region` that encrypts bucket, topics, images and the workers' disks. Null: Google's own keys."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key == null || can(regex("^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$", var.kms_key))
    error_message = "kms_key must be a key's full name: projects/.../locations/.../keyRings/.../cryptoKeys/..."
  }
}

variable "firestore_database" {
  description = "The Firestore database for jobs. `(default)` is free of charge up to a quota; a project has only one of that name."
  type        = string
  default     = "(default)"
  nullable    = false

  validation {
    condition     = var.firestore_database == "(default)" || can(regex("^[a-z][a-z0-9-]{2,61}[a-z0-9]$", var.firestore_database))
    error_message = "firestore_database must be \"(default)\", or 4 to 63 lower-case letters, digits and hyphens, starting with a letter."
  }
}

variable "point_in_time_recovery" {
  description = "Whether the database can be read as it was at any minute of the last seven days."
  type        = bool
  default     = false
  nullable    = false

  validation {
    condition     = contains([true, false], var.point_in_time_recovery)
    error_message = "point_in_time_recovery must be true or false."
  }
}

variable "delete_protection" {
  description = "Whether `terraform destroy` must leave data alone: it then lets the database be, and refuses to delete a bucket that holds anything and the pepper of tokens."
  type        = bool
  default     = true
  nullable    = false

  validation {
    condition     = contains([true, false], var.delete_protection)
    error_message = "delete_protection must be true or false."
  }
}

# Jobs and workers ----------------------------------------------------------------------------------------------------

variable "longest_job_seconds" {
  description = "How long a job may run."
  type        = number
  default     = 86400
  nullable    = false

  validation {
    condition     = var.longest_job_seconds >= 60 && var.longest_job_seconds <= 604800 && floor(var.longest_job_seconds) == var.longest_job_seconds
    error_message = "longest_job_seconds must be a whole number from 60 to 604800, a week."
  }
}

variable "lease_seconds" {
  description = "How long a worker may be silent before its job goes to another. It renews the lease three times as often: with very many jobs at once, those writes are what the database gets too much of (docs/scaling.md)."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = var.lease_seconds >= 15 && var.lease_seconds <= 600 && floor(var.lease_seconds) == var.lease_seconds
    error_message = "lease_seconds must be a whole number from 15 to 600."
  }
}

variable "max_delivery_attempts" {
  description = "How often a job is handed to workers that give it back before it is a dead letter, and has failed."
  type        = number
  default     = 20
  nullable    = false

  validation {
    condition     = var.max_delivery_attempts >= 5 && var.max_delivery_attempts <= 100 && floor(var.max_delivery_attempts) == var.max_delivery_attempts
    error_message = "max_delivery_attempts must be a whole number from 5 to 100."
  }
}

variable "worker_image" {
  description = "The worker's container image, best by digest. Null: the newest one that was pushed to the registry made here."
  type        = string
  default     = null

  validation {
    condition     = var.worker_image == null || can(regex("^[a-z0-9.-]+(:[0-9]+)?/[^\\s@:]+(:[\\w.-]+)?(@sha256:[0-9a-f]{64})?$", var.worker_image))
    error_message = "worker_image must be an image with its registry, such as \"us-central1-docker.pkg.dev/project/cloud-executor/worker@sha256:...\"."
  }
}

variable "pools" {
  description = <<-EOT
    Worker pools by name. A job goes to the first pool, by `order` and then by name, that has all its labels.

    - `order`: where the pool stands among the others.
    - `labels`: what its workers offer to jobs.
    - `machine_type`, `disk_gb`, `disk_type`: of its VMs.
    - `slots`: jobs that one VM runs at once.
    - `min_workers`, `max_workers`: VMs. Those of `min_workers` cost money while idle.
    - `idle_minutes`: how long a worker without a job stays that is none of `min_workers`.
    - `spot`: cheaper VMs that Google may take away; their jobs then start again elsewhere.
    - `accelerator_type`, `accelerator_count`: GPUs of each VM. Each job gets all of them: with several `slots`, jobs share them.
    - `zones`: of the region, where not all have the machine type. Empty: all.
    - `image`: the container image in which its jobs run.
    - `image_patterns`: images that a job may choose instead.
    - `job_network`: whether its jobs reach the network: `none`, or `bridge`, without the VM's metadata server.
    - `job_cpus`, `job_memory_mib`, `job_processes`, `job_disk_mib`: what one job may use. Null: the worker's own default.
    - `job_timeout_seconds`: how long a job may run that does not say. Null: as long as any may.
    - `job_max_timeout_seconds`: how long any job of the pool may run. Null: `longest_job_seconds`.
    - `subnetwork`: one of yours, in place of the one made here; it needs Private Google Access and a way out.
  EOT
  type = map(object({
    order                   = optional(number, 0)
    labels                  = optional(list(string), [])
    machine_type            = optional(string, "e2-standard-4")
    disk_gb                 = optional(number, 50)
    disk_type               = optional(string, "pd-balanced")
    slots                   = optional(number, 4)
    min_workers             = optional(number, 0)
    max_workers             = optional(number, 10)
    idle_minutes            = optional(number, 10)
    spot                    = optional(bool, false)
    accelerator_type        = optional(string)
    accelerator_count       = optional(number, 1)
    zones                   = optional(list(string), [])
    image                   = optional(string, "mirror.gcr.io/library/python:3.12")
    image_patterns          = optional(list(string), [])
    job_network             = optional(string, "bridge")
    job_cpus                = optional(number)
    job_memory_mib          = optional(number)
    job_processes           = optional(number)
    job_disk_mib            = optional(number)
    job_timeout_seconds     = optional(number)
    job_max_timeout_seconds = optional(number)
    subnetwork              = optional(string)
  }))
  default  = { default = {} }
  nullable = false

  validation {
    condition     = length(var.pools) > 0 && alltrue([for name, _ in var.pools : can(regex("^[a-z]([a-z0-9-]{0,18}[a-z0-9])?$", name)) && name != "dead-letter"])
    error_message = "pools must name at least one pool, each by 1 to 20 lower-case letters, digits and hyphens; \"dead-letter\" is taken."
  }
  validation {
    condition     = alltrue([for pool in var.pools : pool.slots >= 1 && pool.slots <= 256 && floor(pool.slots) == pool.slots])
    error_message = "pools must have slots from 1 to 256, a whole number."
  }
  validation {
    condition     = alltrue([for pool in var.pools : pool.min_workers >= 0 && pool.max_workers >= 1 && pool.max_workers <= 2000 && pool.min_workers <= pool.max_workers && floor(pool.min_workers) == pool.min_workers && floor(pool.max_workers) == pool.max_workers])
    error_message = "pools must have max_workers from 1 to 2000, and min_workers from 0 to max_workers, whole numbers."
  }
  validation {
    condition     = alltrue([for pool in var.pools : pool.idle_minutes >= 1 && pool.idle_minutes <= 1440])
    error_message = "pools must have idle_minutes from 1 to 1440."
  }
  validation {
    condition     = alltrue([for pool in var.pools : pool.disk_gb >= 20 && pool.disk_gb <= 65536 && contains(["pd-standard", "pd-balanced", "pd-ssd", "hyperdisk-balanced"], pool.disk_type)])
    error_message = "pools must have a disk_gb from 20 to 65536, and a disk_type of pd-standard, pd-balanced, pd-ssd or hyperdisk-balanced."
  }
  validation {
    condition     = alltrue([for pool in var.pools : can(regex("^[a-z0-9]+-[a-z0-9-]+$", pool.machine_type))])
    error_message = "pools must have a machine_type such as \"e2-standard-4\"."
  }
  validation {
    condition     = alltrue([for pool in var.pools : pool.accelerator_count >= 1 && pool.accelerator_count <= 16])
    error_message = "pools must have an accelerator_count from 1 to 16; for none leave accelerator_type out."
  }
  validation {
    condition     = alltrue([for pool in var.pools : alltrue([for zone in pool.zones : startswith(zone, "${var.region}-")])])
    error_message = "pools must have zones of the region, such as \"us-central1-a\" in us-central1."
  }
  validation {
    condition     = alltrue([for pool in var.pools : contains(["none", "bridge"], pool.job_network)])
    error_message = "pools must have a job_network of \"none\" or \"bridge\"."
  }
  validation {
    condition     = alltrue([for pool in var.pools : alltrue([for label in pool.labels : can(regex("^[^,\\s]+$", label))])])
    error_message = "pools must have labels without commas or spaces."
  }
  validation {
    # Without an image there would be no container for its jobs.
    condition     = alltrue([for pool in var.pools : can(regex("^[^\\s]+$", pool.image))])
    error_message = "pools must have an image, such as \"mirror.gcr.io/library/python:3.12\"."
  }
  validation {
    condition     = alltrue(flatten([for pool in var.pools : [for limit in [pool.job_cpus, pool.job_memory_mib, pool.job_processes, pool.job_disk_mib] : limit == null || try(limit > 0, false)]]))
    error_message = "pools must have limits for jobs above 0; for the worker's defaults leave them out."
  }
  validation {
    condition = alltrue([
      for pool in var.pools :
      coalesce(pool.job_timeout_seconds, 1) >= 1 &&
      coalesce(pool.job_timeout_seconds, 1) <= coalesce(pool.job_max_timeout_seconds, var.longest_job_seconds) &&
      coalesce(pool.job_max_timeout_seconds, 1) <= var.longest_job_seconds
    ])
    error_message = "pools must have a job_timeout_seconds of at most job_max_timeout_seconds, and that of at most longest_job_seconds."
  }
}

variable "worker_subnet_range" {
  description = "The private addresses of the workers' subnetwork."
  type        = string
  default     = "10.76.0.0/20"
  nullable    = false

  validation {
    condition     = can(cidrnetmask(var.worker_subnet_range)) && can(regex("/(1[6-9]|2[0-8])$", var.worker_subnet_range))
    error_message = "worker_subnet_range must be a range such as \"10.76.0.0/20\", between /16 and /28."
  }
}

# Watching ------------------------------------------------------------------------------------------------------------

variable "alert_emails" {
  description = "Who is told by e-mail when something needs a person. Empty: alerts are only shown in the console."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for address in var.alert_emails : can(regex("^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$", address))])
    error_message = "alert_emails must be e-mail addresses."
  }
}

variable "oldest_job_minutes" {
  description = "An alert is raised when a job has waited or run for longer than this."
  type        = number
  default     = 1440
  nullable    = false

  validation {
    condition     = var.oldest_job_minutes >= 5 && var.oldest_job_minutes <= 20160
    error_message = "oldest_job_minutes must be from 5 to 20160, two weeks."
  }
}

variable "budget" {
  description = "A monthly budget for the project, in the billing account's currency: e-mails at 50, 90 and 100 percent of it. Null: none."
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

# Shipping ------------------------------------------------------------------------------------------------------------

variable "build" {
  description = <<-EOT
    A Cloud Build trigger that tests, builds and deploys every push to a branch. Null: none, and no account that may.

    - `repository`: the full name of a repository that is connected to Cloud Build (2nd generation).
    - `branch`: its pattern.
    - `state_bucket`: where Terraform keeps its state.
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
}
