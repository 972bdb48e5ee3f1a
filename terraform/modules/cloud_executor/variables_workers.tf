# Jobs and workers ----------------------------------------------------------------------------------------------------

variable "longest_job_seconds" {
  description = "The maximum run time of a job, in seconds."
  type        = number
  default     = 86400
  nullable    = false

  validation {
    condition     = var.longest_job_seconds >= 60 && var.longest_job_seconds <= 604800 && floor(var.longest_job_seconds) == var.longest_job_seconds
    error_message = "longest_job_seconds must be a whole number from 60 to 604800 (one week)."
  }
}

variable "lease_seconds" {
  description = "Time after which a silent worker loses its job to another worker, in seconds. A worker renews its leases three times in this time; with very many concurrent jobs, these writes overload the database (docs/scaling.md)."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = var.lease_seconds >= 15 && var.lease_seconds <= 600 && floor(var.lease_seconds) == var.lease_seconds
    error_message = "lease_seconds must be a whole number from 15 to 600."
  }
}

variable "queue_window" {
  description = "Maximum number of each user's waiting jobs in the queue of a pool; the others follow one by one, so that users share the workers. Raise it if one user's short jobs have to fill many slots (docs/scaling.md)."
  type        = number
  default     = 16
  nullable    = false

  validation {
    condition     = var.queue_window >= 1 && var.queue_window <= 1000 && floor(var.queue_window) == var.queue_window
    error_message = "queue_window must be a whole number from 1 to 1000."
  }
}

variable "max_delivery_attempts" {
  description = "Number of deliveries after which a job that workers keep releasing becomes a dead letter and fails."
  type        = number
  default     = 20
  nullable    = false

  validation {
    condition     = var.max_delivery_attempts >= 5 && var.max_delivery_attempts <= 100 && floor(var.max_delivery_attempts) == var.max_delivery_attempts
    error_message = "max_delivery_attempts must be a whole number from 5 to 100."
  }
}

variable "worker_image" {
  description = "The worker's container image, preferably by digest. Null: the newest image in the registry of this deployment."
  type        = string
  default     = null

  validation {
    condition     = var.worker_image == null || can(regex("^[a-z0-9.-]+(:[0-9]+)?/[^\\s@:]+(:[\\w.-]+)?(@sha256:[0-9a-f]{64})?$", var.worker_image))
    error_message = "worker_image must be an image name with a registry, such as \"us-central1-docker.pkg.dev/project/cloud-executor/worker@sha256:...\"."
  }
}

variable "worker_os_image" {
  description = "The image of Container-Optimized OS for the workers' VMs. The default is the newest stable one; to pin a tested one, use `projects/cos-cloud/global/images/cos-...`."
  type        = string
  default     = "projects/cos-cloud/global/images/family/cos-stable"
  nullable    = false

  validation {
    condition     = can(regex("^projects/[^/]+/global/images/(family/)?[a-z0-9-]+$", var.worker_os_image))
    error_message = "worker_os_image must be an image such as \"projects/cos-cloud/global/images/family/cos-stable\"."
  }
}

variable "functions_image" {
  description = "The functions' container image, preferably by digest. Null: the newest image in the registry of this deployment."
  type        = string
  default     = null

  validation {
    condition     = var.functions_image == null || can(regex("^[a-z0-9.-]+(:[0-9]+)?/[^\\s@:]+(:[\\w.-]+)?(@sha256:[0-9a-f]{64})?$", var.functions_image))
    error_message = "functions_image must be an image name with a registry, such as \"us-central1-docker.pkg.dev/project/cloud-executor/functions@sha256:...\"."
  }
}

variable "job_env" {
  description = "Variables for the commands of all jobs, such as proxies and the addresses of license servers. Jobs and everyone who can view the functions or the VMs can read them."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for name, _ in var.job_env : can(regex("^[A-Za-z_][A-Za-z0-9_]*$", name)) && !can(regex("^(ORIGIN_URL$|CLOUD_EXECUTOR_|TINI_)", name))])
    error_message = "job_env must have names of letters, digits, and underscores that do not start with a digit and are not reserved (ORIGIN_URL, CLOUD_EXECUTOR_*, TINI_*)."
  }
}

variable "pools" {
  description = <<-EOT
    Worker pools by name. A job goes to the first pool, by `order` and then by name, that has all labels of the job.

    - `order`: position of the pool among the others.
    - `labels`: labels that a job may require of its workers.
    - `machine_type`, `disk_gb`, `disk_type`: machine type, disk size, and disk type of each VM.
    - `slots`: maximum number of concurrent jobs per VM.
    - `min_workers`, `max_workers`: minimum and maximum number of VMs. The minimum costs money while idle.
    - `idle_minutes`: time after which an idle worker removes its VM, unless the pool is at `min_workers`.
    - `standby`: number of VMs that are kept suspended or stopped, with everything installed, so that they start faster than new ones, and their `mode`: `suspended` or `stopped`. A stopped VM costs its disk, a suspended one its memory's contents too.
    - `spot`: whether to use cheaper VMs that Google may preempt. Their jobs then restart elsewhere.
    - `accelerator_type`, `accelerator_count`: GPUs of each VM. Each job gets all of them, so with several `slots` jobs share them.
    - `zones`: zones for the VMs, if not every zone of the region has the machine type. Empty: all zones.
    - `image`: default container image of the pool's jobs.
    - `image_patterns`: patterns of other images that a job may choose: `*` matches within a part of the name, `**` also `/`.
    - `job_network`: network of the jobs: `none` (the default), or `bridge`, which excludes the VM's metadata server and other jobs.
    - `job_egress`: ranges of IPv4 addresses that jobs with a network may connect to, such as `["203.0.113.0/24"]`. To look up names, they need `8.8.8.8/32` and `8.8.4.4/32`. Null: all addresses.
    - `job_runtime`: runtime of the jobs' containers, which the VM's container engine must have. Null: its default.
    - `job_cpus`, `job_memory_mib`, `job_processes`, `job_disk_mib`: limits of one job. Null: the worker's default.
    - `job_disk_quota`: whether each job runs on a file system of its own, of the size `job_disk_mib`. It limits everything that the job can write, whereas the worker alone counts now and then what is there. The VM reserves the space, so `disk_gb` must have room for all `slots`.
    - `job_env`: variables for the commands of the pool's jobs, in addition to those of the variable `job_env`.
    - `job_timeout_seconds`: time limit of a job that does not set one. Null: `job_max_timeout_seconds`.
    - `job_max_timeout_seconds`: maximum time limit of a job. Null: `longest_job_seconds`.
    - `job_max_retries`: maximum number of retries that a job can set. Null: 3.
    - `external_workers`: whether external workers, such as WebGME's, may run the pool's jobs too.
    - `subnetwork`: a subnetwork of yours to use instead of the default one. It needs Private Google Access and outbound connectivity, and gets a firewall rule for health checks.
  EOT
  type = map(object({
    order        = optional(number, 0)
    labels       = optional(list(string), [])
    machine_type = optional(string, "e2-standard-4")
    disk_gb      = optional(number, 50)
    disk_type    = optional(string, "pd-balanced")
    slots        = optional(number, 4)
    min_workers  = optional(number, 0)
    max_workers  = optional(number, 10)
    idle_minutes = optional(number, 15)
    standby = optional(object({
      size = number
      mode = optional(string, "suspended")
    }))
    spot                    = optional(bool, false)
    accelerator_type        = optional(string)
    accelerator_count       = optional(number, 1)
    zones                   = optional(list(string), [])
    image                   = optional(string, "mirror.gcr.io/library/python:3.12")
    image_patterns          = optional(list(string), [])
    job_network             = optional(string, "none")
    job_egress              = optional(list(string))
    job_runtime             = optional(string)
    job_cpus                = optional(number)
    job_memory_mib          = optional(number)
    job_processes           = optional(number)
    job_disk_mib            = optional(number)
    job_disk_quota          = optional(bool, false)
    job_env                 = optional(map(string), {})
    job_timeout_seconds     = optional(number)
    job_max_timeout_seconds = optional(number)
    job_max_retries         = optional(number)
    external_workers        = optional(bool, false)
    subnetwork              = optional(string)
  }))
  default  = { default = {} }
  nullable = false

  validation {
    condition     = length(var.pools) > 0 && alltrue([for name, _ in var.pools : can(regex("^[a-z]([a-z0-9-]{0,18}[a-z0-9])?$", name)) && name != "dead-letter"])
    error_message = "pools must have at least one pool. The name of a pool must have 1 to 20 lowercase letters, digits, and hyphens, and must not be \"dead-letter\"."
  }
  validation {
    condition     = alltrue([for pool in var.pools : pool.slots >= 1 && pool.slots <= 256 && floor(pool.slots) == pool.slots])
    error_message = "pools must have a number of slots that is a whole number from 1 to 256."
  }
  validation {
    condition     = alltrue([for pool in var.pools : pool.min_workers >= 0 && pool.max_workers >= 1 && pool.max_workers <= 2000 && pool.min_workers <= pool.max_workers && floor(pool.min_workers) == pool.min_workers && floor(pool.max_workers) == pool.max_workers])
    error_message = "pools must have max_workers from 1 to 2000 and min_workers from 0 to max_workers, as whole numbers."
  }
  validation {
    condition     = alltrue([for pool in var.pools : pool.standby == null || try(pool.standby.size >= 1 && pool.standby.size <= 2000 && floor(pool.standby.size) == pool.standby.size && contains(["suspended", "stopped"], pool.standby.mode), false)])
    error_message = "pools must have a standby with a size from 1 to 2000 and a mode of \"suspended\" or \"stopped\"."
  }
  validation {
    condition     = alltrue([for pool in var.pools : try(pool.standby.mode, "stopped") == "stopped" || pool.accelerator_type == null])
    error_message = "pools must have a standby mode of \"stopped\" if they have GPUs, because such VMs cannot be suspended."
  }
  validation {
    condition     = alltrue([for pool in var.pools : pool.idle_minutes >= 1 && pool.idle_minutes <= 1440])
    error_message = "pools must have idle_minutes from 1 to 1440."
  }
  validation {
    condition     = alltrue([for pool in var.pools : pool.disk_gb >= 20 && pool.disk_gb <= 65536 && contains(["pd-standard", "pd-balanced", "pd-ssd", "hyperdisk-balanced"], pool.disk_type)])
    error_message = "pools must have a disk_gb from 20 to 65536 and a disk_type of pd-standard, pd-balanced, pd-ssd, or hyperdisk-balanced."
  }
  validation {
    # worker_vm/cloud-init.yaml reserves an eighth more. The system and the images need the rest.
    condition     = alltrue([for pool in var.pools : !pool.job_disk_quota || pool.slots * (coalesce(pool.job_disk_mib, 10240) * 1.125 + 64) / 1024 + 15 <= pool.disk_gb])
    error_message = "pools with job_disk_quota must have a disk_gb with room for slots × (job_disk_mib × 1.125 + 64 MiB) and 15 GiB for the system and images: raise it, or lower slots or job_disk_mib (10240 by default)."
  }
  validation {
    condition     = alltrue([for pool in var.pools : can(regex("^[a-z0-9]+-[a-z0-9-]+$", pool.machine_type))])
    error_message = "pools must have a machine_type such as \"e2-standard-4\"."
  }
  validation {
    condition     = alltrue([for pool in var.pools : !can(regex("^(t2a|c4a|n4a|a4x)-", pool.machine_type))])
    error_message = "pools must have an x86 machine_type, because the worker's image is not built for ARM."
  }
  validation {
    # https://cloud.google.com/compute/docs/disks/persistent-disks and .../hyperdisks list the machine families.
    condition = alltrue([
      for pool in var.pools :
      can(regex("^(c4|c4d|n4|n4d|m4|h4d|x4|a4)-", pool.machine_type)) ? pool.disk_type == "hyperdisk-balanced" :
      can(regex("^(e2|f1|g1|n1|n2|n2d|t2d|c2|c2d|a2|g2)-", pool.machine_type)) ? pool.disk_type != "hyperdisk-balanced" :
      can(regex("^(c3|c3d|a3|z3)-", pool.machine_type)) ? pool.disk_type != "pd-standard" : true
    ])
    error_message = "pools must have a disk_type that the machine family supports: c4, c4d, n4, n4d, m4, h4d, x4, and a4 only hyperdisk-balanced; e2, n1, n2, n2d, t2d, c2, c2d, a2, and g2 only pd-*; c3, c3d, a3, and z3 no pd-standard."
  }
  validation {
    condition = alltrue([
      for pool in var.pools :
      can(regex("^(a2|a3|a4|g2|g4)-", pool.machine_type)) ? pool.accelerator_type != null :
      pool.accelerator_type == null || can(regex("^n1-", pool.machine_type))
    ])
    error_message = "pools must have an accelerator_type if the machine_type comes with GPUs (a2, a3, a4, g2, g4), and otherwise only with an n1 machine_type, because no other family accepts GPUs."
  }
  validation {
    condition     = alltrue([for pool in var.pools : pool.accelerator_count >= 1 && pool.accelerator_count <= 16])
    error_message = "pools must have an accelerator_count from 1 to 16. For VMs without GPUs, omit accelerator_type."
  }
  validation {
    condition     = alltrue([for pool in var.pools : alltrue([for zone in pool.zones : startswith(zone, "${var.region}-")])])
    error_message = "pools must have zones in the region, such as \"us-central1-a\" in us-central1."
  }
  validation {
    condition     = alltrue([for pool in var.pools : contains(["none", "bridge"], pool.job_network)])
    error_message = "pools must have a job_network of \"none\" or \"bridge\"."
  }
  validation {
    condition     = alltrue([for pool in var.pools : pool.job_egress == null || try(pool.job_network == "bridge" && alltrue([for range in pool.job_egress : can(cidrnetmask(range))]), false)])
    error_message = "pools must have job_egress only with the job_network \"bridge\", and as ranges of IPv4 addresses, such as [\"203.0.113.0/24\"]."
  }
  validation {
    condition     = alltrue(flatten([for pool in var.pools : [for name, _ in pool.job_env : can(regex("^[A-Za-z_][A-Za-z0-9_]*$", name)) && !can(regex("^(ORIGIN_URL$|CLOUD_EXECUTOR_|TINI_)", name))]]))
    error_message = "pools must have a job_env whose names have letters, digits, and underscores, do not start with a digit, and are not reserved (ORIGIN_URL, CLOUD_EXECUTOR_*, TINI_*)."
  }
  validation {
    condition     = alltrue([for pool in var.pools : alltrue([for label in pool.labels : can(regex("^[^,\\s]+$", label))])])
    error_message = "pools must have labels without commas or spaces."
  }
  validation {
    # Without an image, a job would have no container.
    condition     = alltrue([for pool in var.pools : can(regex("^[^\\s]+$", pool.image))])
    error_message = "pools must have an image, such as \"mirror.gcr.io/library/python:3.12\"."
  }
  validation {
    condition     = alltrue(flatten([for pool in var.pools : [for limit in [pool.job_cpus, pool.job_memory_mib, pool.job_processes, pool.job_disk_mib] : limit == null || try(limit > 0, false)]]))
    error_message = "pools must have job limits above 0. To use the worker's defaults, omit them."
  }
  validation {
    condition = alltrue([
      for pool in var.pools :
      coalesce(pool.job_timeout_seconds, 1) >= 1 &&
      coalesce(pool.job_timeout_seconds, 1) <= coalesce(pool.job_max_timeout_seconds, var.longest_job_seconds) &&
      coalesce(pool.job_max_timeout_seconds, 1) <= var.longest_job_seconds
    ])
    error_message = "pools must have a job_timeout_seconds of up to job_max_timeout_seconds, and a job_max_timeout_seconds of up to longest_job_seconds."
  }
}

variable "worker_subnet_range" {
  description = "The range of private addresses for the workers' subnetwork."
  type        = string
  default     = "10.76.0.0/20"
  nullable    = false

  validation {
    condition     = can(cidrnetmask(var.worker_subnet_range)) && can(regex("/(1[6-9]|2[0-8])$", var.worker_subnet_range))
    error_message = "worker_subnet_range must be a range from /16 to /28, such as \"10.76.0.0/20\"."
  }
}
