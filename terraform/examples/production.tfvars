# A domain, three worker pools, alerts by email, a budget, and continuous deployment.
project_id = "my-project"
region     = "europe-west4"
labels     = { team = "research", environment = "production" }

domain                = "jobs.example.com"
allow_unauthenticated = true # WebGME's clients know only the shared secret
armor                 = true

point_in_time_recovery = true
soft_delete_days       = 30
keep_jobs_days         = 90

pools = {
  default = {
    labels       = ["linux"]
    machine_type = "e2-standard-8"
    slots        = 8
    max_workers  = 50
  }
  gpu = {
    order            = 1
    labels           = ["linux", "gpu"]
    machine_type     = "n1-standard-8"
    accelerator_type = "nvidia-tesla-t4"
    zones            = ["europe-west4-b", "europe-west4-c"]
    slots            = 1
    disk_gb          = 200
    disk_type        = "pd-ssd"
    image            = "nvcr.io/nvidia/cuda:12.6.3-runtime-ubuntu24.04"
    job_cpus         = 8
    job_memory_mib   = 26624
    job_disk_mib     = 102400
  }
  spot = {
    order          = 2
    labels         = ["linux", "patient"]
    machine_type   = "c3d-standard-16"
    disk_gb        = 200
    disk_type      = "hyperdisk-balanced"
    spot           = true
    slots          = 16
    max_workers    = 200
    job_env        = { R_LIBS_SITE = "/usr/local/lib/R/shared" }
    image_patterns = ["europe-west4-docker.pkg.dev/my-project/**"]
    job_network    = "bridge"                                        # the jobs get their licenses over it
    job_egress     = ["198.51.100.0/24", "8.8.8.8/32", "8.8.4.4/32"] # the license servers, and name servers
  }
}

job_env = { LM_LICENSE_FILE = "27000@licenses.example.com" }

alert_emails       = ["operations@example.com"]
oldest_job_minutes = 720
budget             = { billing_account = "012345-6789AB-CDEF01", monthly_amount = 2000 }

build = {
  repository   = "projects/my-project/locations/europe-west4/connections/github/repositories/cloud-executor"
  state_bucket = "my-project-terraform-state"
}
