locals {
  health_port  = "8080"
  registry     = "${var.region}-docker.pkg.dev/${var.project_id}/${google_artifact_registry_repository.images.repository_id}"
  worker_image = coalesce(var.worker_image, "${local.registry}/worker:latest")

  # The ranges that the firewall of a pool's VMs lets jobs connect to.
  job_egress = { for name, pool in var.pools : name => join(" ", pool.job_egress == null ? ["0.0.0.0/0"] : pool.job_egress) }

  # Images at these registries are pulled with the VM's credentials, which no other registry gets.
  google_registry = "^(([a-z0-9-]+\\.)?gcr\\.io|[a-z0-9-]+-docker\\.pkg\\.dev)/"

  # The environment of the worker's container, one variable per line. It contains all pools, because a worker hands over
  # a job that needs more than its own pool offers to a later pool.
  worker_environment = join("\n", [
    for key, value in merge(local.settings, { EXECUTOR_SANDBOX = "container", EXECUTOR_SWEEP_URL = local.service_urls["sweep"] }) : "${key}=${value}"
  ])
}

# The machine. The group below configures its software, because a group can be updated, whereas a template can only be
# replaced.
resource "google_compute_region_instance_template" "pool" {
  #checkov:skip=CKV_GCP_32:The metadata below blocks project-wide SSH keys
  for_each = var.pools

  project      = var.project_id
  region       = var.region
  name_prefix  = "${var.name}-${each.key}-"
  description  = "Cloud Executor: a worker of the pool ${each.key}"
  machine_type = each.value.machine_type
  labels       = merge(local.labels, { pool = each.key })

  metadata = {
    block-project-ssh-keys     = "TRUE"
    cos-update-strategy        = "update_disabled" # VMs are short-lived and start from the newest image
    enable-oslogin             = "TRUE"
    google-logging-enabled     = "true"
    google-monitoring-enabled  = "true"
    serial-port-logging-enable = "false"
  }

  disk {
    source_image = var.worker_os_image
    boot         = true
    auto_delete  = true
    disk_size_gb = each.value.disk_gb
    disk_type    = each.value.disk_type
    labels       = merge(local.labels, { pool = each.key })

    dynamic "disk_encryption_key" {
      for_each = var.kms_key == null ? [] : [var.kms_key]
      content {
        kms_key_self_link = disk_encryption_key.value
      }
    }
  }

  # Without an access_config, a VM has no public address.
  network_interface {
    subnetwork = coalesce(each.value.subnetwork, google_compute_subnetwork.workers.id)
  }

  service_account {
    email  = google_service_account.this["worker"].email
    scopes = ["cloud-platform"] # the account's roles limit its access
  }

  shielded_instance_config {
    enable_secure_boot          = true
    enable_vtpm                 = true
    enable_integrity_monitoring = true
  }

  scheduling {
    provisioning_model          = each.value.spot ? "SPOT" : "STANDARD"
    preemptible                 = each.value.spot
    automatic_restart           = !each.value.spot # must be false for spot VMs
    instance_termination_action = each.value.spot ? "STOP" : null
    on_host_maintenance         = each.value.spot || each.value.accelerator_type != null ? "TERMINATE" : "MIGRATE" # neither kind can migrate
  }

  dynamic "guest_accelerator" {
    for_each = each.value.accelerator_type == null ? [] : [each.value.accelerator_type]
    content {
      type  = guest_accelerator.value
      count = each.value.accelerator_count
    }
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "google_compute_health_check" "worker" {
  project             = var.project_id
  name                = "${var.name}-worker"
  description         = "Cloud Executor: checks whether a worker still takes jobs"
  check_interval_sec  = 30
  timeout_sec         = 10
  healthy_threshold   = 1
  unhealthy_threshold = 5

  http_health_check {
    port         = local.health_port
    request_path = "/healthz"
  }

  log_config {
    enable = true
  }

  depends_on = [google_project_service.required]
}

resource "google_compute_region_instance_group_manager" "pool" {
  for_each = var.pools

  project                   = var.project_id
  region                    = var.region
  name                      = "${var.name}-${each.key}"
  base_instance_name        = "${var.name}-${each.key}"
  description               = "Cloud Executor: the workers of the pool ${each.key}"
  distribution_policy_zones = length(each.value.zones) > 0 ? each.value.zones : null

  # Creates VMs in zones with free capacity rather than evenly, because workers need no redundancy across zones. An
  # autoscaler supports no shape that is more flexible.
  distribution_policy_target_shape = "BALANCED"

  # The autoscaler and idle workers control the number of VMs.
  target_size = null

  version {
    instance_template = google_compute_region_instance_template.pool[each.key].self_link
  }

  # The group takes VMs from here when it grows, and refills this stock. A VM is suspended or stopped once everything is
  # installed. A worker that is suspended while it runs a job gives the job up when it resumes.
  dynamic "standby_policy" {
    for_each = each.value.standby == null ? [] : [each.value.standby]
    content {
      mode              = "SCALE_OUT_POOL"
      initial_delay_sec = 300
    }
  }
  target_suspended_size = try(each.value.standby.mode, null) == "suspended" ? each.value.standby.size : 0
  target_stopped_size   = try(each.value.standby.mode, null) == "stopped" ? each.value.standby.size : 0

  # Applies to new VMs. Running VMs keep their configuration until they leave.
  all_instances_config {
    metadata = {
      user-data = templatefile("${local.repository}/worker_vm/cloud-init.yaml", {
        disk_mib = coalesce(each.value.job_disk_mib, 10240)
        disks    = each.value.job_disk_quota ? each.value.slots : 0

        disks_option = each.value.job_disk_quota ? "--disks" : ""

        egress      = local.job_egress[each.key]
        environment = base64encode("${local.worker_environment}\n")
        gpu         = each.value.accelerator_type != null
        health_port = local.health_port
        image       = local.worker_image
        job_image   = each.value.image
        origin_url  = local.url
        pool        = each.key
        registries  = join(",", distinct([for image in [local.worker_image, each.value.image] : split("/", image)[0] if image == local.worker_image || can(regex(local.google_registry, image))]))
        slots       = each.value.slots
      })
    }
  }

  dynamic "auto_healing_policies" {
    for_each = contains(keys(local.own_subnetworks), each.key) && !contains(keys(local.opened_subnetworks), each.key) ? [] : [true]
    content {
      health_check      = google_compute_health_check.worker.id
      initial_delay_sec = 600 # the time that installing drivers and pulling images may take
    }
  }

  # A VM keeps its template until it leaves by itself: an update, or rebalancing zones, would end running jobs.
  update_policy {
    type                           = "OPPORTUNISTIC"
    minimal_action                 = "REPLACE"
    most_disruptive_allowed_action = "REPLACE"
    instance_redistribution_type   = "NONE"
    max_surge_fixed                = 0
    max_unavailable_fixed          = 4 # at least the number of zones
  }

  depends_on = [
    google_artifact_registry_repository_iam_member.this,
    google_compute_firewall.own_health_checks,
    google_compute_router_nat.workers,
    google_project_iam_member.this,
    google_pubsub_subscription_iam_member.worker,
    google_pubsub_topic_iam_member.publisher,
    google_storage_bucket_iam_member.this,
  ]
}

# One slot per unacked message, which includes running jobs. The autoscaler only scales out: when scaling in, it could
# delete a busy VM, whereas a worker knows when it is idle.
resource "google_compute_region_autoscaler" "pool" {
  for_each = var.pools

  project = var.project_id
  region  = var.region
  name    = "${var.name}-${each.key}"
  target  = google_compute_region_instance_group_manager.pool[each.key].id

  autoscaling_policy {
    mode            = "ONLY_SCALE_OUT"
    min_replicas    = each.value.min_workers
    max_replicas    = each.value.max_workers
    cooldown_period = 60

    metric {
      name                       = "pubsub.googleapis.com/subscription/num_undelivered_messages"
      filter                     = "resource.type = pubsub_subscription AND resource.label.subscription_id = \"${google_pubsub_subscription.pool[each.key].name}\""
      single_instance_assignment = each.value.slots
    }
  }
}
