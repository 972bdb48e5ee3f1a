# Location ------------------------------------------------------------------------------------------------------------

variable "project_id" {
  description = "The Google Cloud project to deploy into. Billing must be enabled on it."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id must be a project ID: 6 to 30 lowercase letters, digits, and hyphens, starting with a letter."
  }
}

variable "region" {
  description = "The region of all resources: functions, bucket, database, and workers."
  type        = string
  default     = "us-central1"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]{1,2}$", var.region))
    error_message = "region must be a region such as \"us-central1\", not a zone or a multi-region."
  }
  validation {
    # https://cloud.google.com/firestore/docs/reference/rest/v1/projects.locations/get
    condition = !can(regex("^[a-z]+-[a-z]+[0-9]{1,2}$", var.region)) || contains([
      "africa-south1", "asia-east1", "asia-east2", "asia-northeast1", "asia-northeast2", "asia-northeast3", "asia-south1",
      "asia-south2", "asia-southeast1", "asia-southeast2", "asia-southeast3", "australia-southeast1",
      "australia-southeast2", "europe-central2", "europe-north1", "europe-north2", "europe-southwest1", "europe-west1",
      "europe-west10", "europe-west12", "europe-west15", "europe-west2", "europe-west3", "europe-west4", "europe-west6",
      "europe-west8", "europe-west9", "me-central1", "me-central2", "me-west1", "northamerica-northeast1",
      "northamerica-northeast2", "northamerica-south1", "southamerica-east1", "southamerica-west1", "us-central1",
      "us-east1", "us-east4", "us-east5", "us-south1", "us-west1", "us-west2", "us-west3", "us-west4",
    ], var.region)
    error_message = "region must be a region that has Firestore: https://cloud.google.com/firestore/docs/locations lists them."
  }
}

# Names ---------------------------------------------------------------------------------------------------------------

variable "name" {
  description = "The name that all resource names start with. A different name creates a second, separate deployment in the same project, which also needs its own `firestore_database`."
  type        = string
  default     = "cloud-executor"
  nullable    = false

  validation {
    # A service account ID has up to 30 characters, of which our suffix takes up to 12.
    condition     = can(regex("^[a-z][a-z0-9-]{1,16}[a-z0-9]$", var.name))
    error_message = "name must have 3 to 18 lowercase letters, digits, and hyphens, starting with a letter."
  }
  validation {
    # Google reserves such names for topics and buckets.
    condition     = !strcontains(var.name, "goog")
    error_message = "name must not contain \"goog\", which Google reserves."
  }
}

variable "labels" {
  description = "Labels for every resource that supports them, in addition to `application`."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition = alltrue([
      for key, value in var.labels :
      can(regex("^[a-z][a-z0-9_-]{0,62}$", key)) && can(regex("^[a-z0-9_-]{0,63}$", value)) && key != "application"
    ])
    error_message = "labels must have keys and values of up to 63 lowercase letters, digits, hyphens, and underscores. The key \"application\" is reserved."
  }
}

# Access --------------------------------------------------------------------------------------------------------------

variable "allow_unauthenticated" {
  description = "Whether anyone may call the API without a Google identity. WebGME's clients need this, because they know only the secret of `require_nonce` or an access token."
  type        = bool
  default     = false
  nullable    = false

  validation {
    condition     = !var.allow_unauthenticated || var.require_nonce || !contains(var.auth_methods, "open")
    error_message = "allow_unauthenticated needs require_nonce, or auth_methods without \"open\". Otherwise, anyone could run commands on your workers."
  }
}

variable "invokers" {
  description = "The Google identities that may call the API, such as `user:jane@example.com` or `group:lab@example.com`."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for member in var.invokers : can(regex("^(user|group|serviceAccount|domain|principal|principalSet):.+", member))])
    error_message = "invokers must be members such as \"user:jane@example.com\", \"group:...\", \"serviceAccount:...\", or \"domain:...\". To let everyone in, set allow_unauthenticated."
  }
}

variable "require_nonce" {
  description = "Whether requests to the executor API must carry the shared secret from Secret Manager in the header `x-executor-nonce`."
  type        = bool
  default     = true
  nullable    = false

  validation {
    condition     = contains([true, false], var.require_nonce)
    error_message = "require_nonce must be true or false."
  }
}

variable "auth_methods" {
  description = "How the API itself identifies callers, after Cloud Run's check: `token` by access tokens, `google` by Google's ID tokens and the assertions of Identity-Aware Proxy, and `open`, which lets callers without a credential in as a guest."
  type        = set(string)
  default     = ["open"]
  nullable    = false

  validation {
    condition     = length(var.auth_methods) > 0 && length(setsubtract(var.auth_methods, ["open", "token", "google"])) == 0
    error_message = "auth_methods must be one or more of \"open\", \"token\", and \"google\"."
  }
  validation {
    condition     = contains(var.auth_methods, "google") == (length(var.users) + length(var.admins) > 0)
    error_message = "auth_methods must have \"google\" if users or admins name accounts, and only then. The users of access tokens are named when a token is created."
  }
}

variable "admin_token" {
  description = "With `token` in `auth_methods`: whether Terraform creates an administrator's token in Secret Manager. Terraform's state contains it."
  type        = bool
  default     = true
  nullable    = false

  validation {
    condition     = contains([true, false], var.admin_token)
    error_message = "admin_token must be true or false."
  }
}

variable "users" {
  description = "With `google` in `auth_methods`: the Google accounts that may use the API, such as `jane@example.com` or, for all accounts of a domain, `domain:example.com`."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for account in var.users : can(regex("^(domain:[^@,\\s]+|[^@,:\\s]+@[^@,\\s]+)$", account))])
    error_message = "users must be accounts such as \"jane@example.com\" or \"domain:example.com\"."
  }
}

variable "admins" {
  description = "With `google` in `auth_methods`: the Google accounts that may do everything, in the form of `users`."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for account in var.admins : can(regex("^(domain:[^@,\\s]+|[^@,:\\s]+@[^@,\\s]+)$", account))])
    error_message = "admins must be accounts such as \"jane@example.com\" or \"domain:example.com\"."
  }
}

variable "google_audiences" {
  description = "With `google` in `auth_methods`: further audiences of accepted tokens, in addition to the output `audience` and, without `domain`, Identity-Aware Proxy's. With `domain` and `iap`, add the output `iap_audiences` after the first deployment."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for audience in var.google_audiences : can(regex("^[^,\\s]+$", audience))])
    error_message = "google_audiences must be audiences without commas or spaces."
  }
  validation {
    condition     = length(var.google_audiences) == 0 || contains(var.auth_methods, "google")
    error_message = "google_audiences needs \"google\" in auth_methods."
  }
}

# Domain --------------------------------------------------------------------------------------------------------------

variable "quotas" {
  description = "With `token` or `google` in `auth_methods`: the limits of each user, which an administrator can change with `executor quota`. Omitted ones are 100 GiB uploaded per day, 1 TiB stored, 100000 stored, 20000 waiting, and 1000 running jobs, and 6000 requests per minute to each instance of a function; -1 means no limit."
  type = object({
    bytes_per_day       = optional(number, 107374182400)
    bytes_stored        = optional(number, 1099511627776)
    jobs_stored         = optional(number, 100000)
    jobs_waiting        = optional(number, 20000)
    jobs_running        = optional(number, 1000)
    requests_per_minute = optional(number, 6000)
  })
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for limit in values(var.quotas) : limit >= -1 && floor(limit) == limit])
    error_message = "quotas must be whole numbers from 0, or -1 for no limit."
  }
}

variable "domain" {
  description = "A domain name that you own. The API is then served there by a load balancer with a managed certificate, and by separate functions for blobs and jobs. Null: a single function at its own URL, without fixed cost."
  type        = string
  default     = null

  validation {
    condition     = var.domain == null || can(regex("^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z]{2,63}$", var.domain))
    error_message = "domain must be a full domain name in lowercase, such as \"jobs.example.com\"."
  }
}

variable "iap" {
  description = "Whether Identity-Aware Proxy signs people in before they reach the API: `{}` without `domain`, or with `domain` the OAuth client that it uses. Null: no proxy."
  type = object({
    client_id     = optional(string)
    client_secret = optional(string)
  })
  default   = null
  sensitive = true

  validation {
    condition     = var.iap == null || try((var.domain == null) == (var.iap.client_id == null) && (var.domain == null) == (var.iap.client_secret == null), false)
    error_message = "iap must be {} without a domain, because Cloud Run then brings its own OAuth client, and must have a client_id and a client_secret with a domain."
  }
  validation {
    condition     = var.iap == null || !var.allow_unauthenticated
    error_message = "iap excludes allow_unauthenticated, because callers could then bypass Identity-Aware Proxy."
  }
}

variable "armor" {
  description = "With `domain`: whether Cloud Armor limits the request rate per address and blocks known attacks."
  type        = bool
  default     = false
  nullable    = false

  validation {
    condition     = !var.armor || var.domain != null
    error_message = "armor needs a domain, because Cloud Armor is part of the load balancer."
  }
}

variable "requests_per_minute" {
  description = "With `armor`: the maximum number of requests per minute from one address."
  type        = number
  default     = 6000
  nullable    = false

  validation {
    condition     = var.requests_per_minute >= 60 && var.requests_per_minute <= 1000000 && floor(var.requests_per_minute) == var.requests_per_minute
    error_message = "requests_per_minute must be a whole number from 60 to 1000000."
  }
}

variable "cors_origins" {
  description = "Origins of web pages that use the API, and the bucket directly, in addition to the origin of `domain`. Without a domain, add the API's own origin when you know it."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for origin in var.cors_origins : can(regex("^https?://[^/*]+$", origin))])
    error_message = "cors_origins must be origins such as \"https://example.com\", without a path or a wildcard."
  }
}

# Functions -----------------------------------------------------------------------------------------------------------

variable "function_limits" {
  description = "Limits of each function that serves the API: memory in MiB, CPUs, concurrent requests per instance, maximum number of instances, and number of instances kept warm, which cost money while idle."
  type = object({
    memory_mib    = optional(number, 1024)
    cpus          = optional(number, 1)
    concurrency   = optional(number, 16)
    max_instances = optional(number, 10)
    min_instances = optional(number, 0)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.function_limits.memory_mib >= 512 && var.function_limits.memory_mib <= 32768 && contains([1, 2, 4, 8], var.function_limits.cpus)
    error_message = "function_limits must have a memory_mib from 512 to 32768, and 1, 2, 4, or 8 cpus."
  }
  validation {
    # https://cloud.google.com/run/docs/configuring/services/memory-limits
    condition = (
      var.function_limits.memory_mib >= lookup({ "4" = 2048, "8" = 4096 }, tostring(var.function_limits.cpus), 0) &&
      var.function_limits.memory_mib <= lookup({ "1" = 4096, "2" = 8192, "4" = 16384 }, tostring(var.function_limits.cpus), 32768)
    )
    error_message = "function_limits must have a memory_mib that Cloud Run allows for its cpus: up to 4096 with 1, up to 8192 with 2, from 2048 to 16384 with 4, and from 4096 to 32768 with 8."
  }
  validation {
    condition     = var.function_limits.concurrency >= 1 && var.function_limits.concurrency <= 1000 && floor(var.function_limits.concurrency) == var.function_limits.concurrency
    error_message = "function_limits must have a concurrency that is a whole number from 1 to 1000."
  }
  validation {
    condition     = var.function_limits.min_instances >= 0 && var.function_limits.max_instances >= max(1, var.function_limits.min_instances)
    error_message = "function_limits must have max_instances of at least 1, and min_instances from 0 to max_instances."
  }
}

variable "list_all_blobs" {
  description = "Whether `GET /rest/blob/metadata?all=1` also lists blobs that are not public."
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
    error_message = "bucket_name must have 3 to 63 lowercase letters, digits, dots, hyphens, and underscores."
  }
  validation {
    condition     = var.bucket_name == null || try(!startswith(var.bucket_name, "goog") && !strcontains(var.bucket_name, "google"), true)
    error_message = "bucket_name must not start with \"goog\" or contain \"google\", which Google reserves."
  }
}

variable "keep_jobs_days" {
  description = "Number of days after which finished jobs, and blobs that nothing needs, are deleted: 1 to 36500. null keeps everything. docs/operations.md describes what is needed."
  type        = number
  default     = null

  validation {
    condition     = var.keep_jobs_days == null || try(var.keep_jobs_days >= 1 && var.keep_jobs_days <= 36500 && floor(var.keep_jobs_days) == var.keep_jobs_days, false)
    error_message = "keep_jobs_days must be a whole number from 1 to 36500, or null to keep everything."
  }
}

variable "soft_delete_days" {
  description = "Number of days that the bucket for blobs retains deleted objects: 0, or 7 to 90. They cost as much as others. Uploads in flight and composed zips are in another bucket, which retains nothing."
  type        = number
  default     = 7
  nullable    = false

  validation {
    condition     = var.soft_delete_days == 0 || (var.soft_delete_days >= 7 && var.soft_delete_days <= 90)
    error_message = "soft_delete_days must be 0 or from 7 to 90."
  }
}

variable "kms_key" {
  description = "A Cloud KMS key in `region` that encrypts the buckets, topics, images, and workers' disks. Null: Google's own keys."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key == null || can(regex("^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$", var.kms_key))
    error_message = "kms_key must be the full name of a key: projects/.../locations/.../keyRings/.../cryptoKeys/..."
  }
  validation {
    condition     = var.kms_key == null || try(split("/", var.kms_key)[3] == var.region, true)
    error_message = "kms_key must be a key in the region, because Google's services can use no other."
  }
}

variable "firestore_database" {
  description = "The Firestore database for jobs. `(default)` has a free quota, but a project has only one database of that name."
  type        = string
  default     = "(default)"
  nullable    = false

  validation {
    condition     = var.firestore_database == "(default)" || can(regex("^[a-z][a-z0-9-]{2,61}[a-z0-9]$", var.firestore_database))
    error_message = "firestore_database must be \"(default)\", or 4 to 63 lowercase letters, digits, and hyphens, starting with a letter."
  }
}

variable "point_in_time_recovery" {
  description = "Whether the database can be read as of any minute of the last seven days."
  type        = bool
  default     = false
  nullable    = false

  validation {
    condition     = contains([true, false], var.point_in_time_recovery)
    error_message = "point_in_time_recovery must be true or false."
  }
}

variable "delete_protection" {
  description = "Whether `terraform destroy` keeps data: it then leaves the database alone, and refuses to delete the token pepper or a bucket that contains blobs."
  type        = bool
  default     = true
  nullable    = false

  validation {
    condition     = contains([true, false], var.delete_protection)
    error_message = "delete_protection must be true or false."
  }
}
