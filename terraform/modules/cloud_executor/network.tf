# The workers' network: inbound connections only for health checks, outbound connections through Cloud NAT, and Google's
# services at private addresses.

resource "google_compute_network" "workers" {
  project                 = var.project_id
  name                    = "${var.name}-workers"
  description             = "Cloud Executor: worker VMs"
  auto_create_subnetworks = false

  depends_on = [google_project_service.required]
}

resource "google_compute_subnetwork" "workers" {
  #checkov:skip=CKV_GCP_76:The subnetwork has no IPv6 addresses
  project                  = var.project_id
  region                   = var.region
  name                     = "${var.name}-workers"
  network                  = google_compute_network.workers.id
  ip_cidr_range            = var.worker_subnet_range
  private_ip_google_access = true

  log_config {
    aggregation_interval = "INTERVAL_10_MIN"
    flow_sampling        = 0.1
    metadata             = "INCLUDE_ALL_METADATA"
  }
}

resource "google_compute_router" "workers" {
  project = var.project_id
  region  = var.region
  name    = "${var.name}-workers"
  network = google_compute_network.workers.id
}

resource "google_compute_router_nat" "workers" {
  project                             = var.project_id
  region                              = var.region
  name                                = "${var.name}-workers"
  router                              = google_compute_router.workers.name
  nat_ip_allocate_option              = "AUTO_ONLY"
  source_subnetwork_ip_ranges_to_nat  = "ALL_SUBNETWORKS_ALL_IP_RANGES"
  enable_dynamic_port_allocation      = true
  enable_endpoint_independent_mapping = false
  min_ports_per_vm                    = 64
  max_ports_per_vm                    = 4096

  log_config {
    enable = true
    filter = "ERRORS_ONLY"
  }
}

resource "google_compute_firewall" "deny_ingress" {
  project     = var.project_id
  name        = "${var.name}-deny-ingress"
  description = "Cloud Executor: denies all connections to workers"
  network     = google_compute_network.workers.id
  direction   = "INGRESS"
  priority    = 65000

  source_ranges = ["0.0.0.0/0"]

  deny {
    protocol = "all"
  }

  log_config {
    metadata = "EXCLUDE_ALL_METADATA"
  }
}

resource "google_compute_firewall" "health_checks" {
  project     = var.project_id
  name        = "${var.name}-health-checks"
  description = "Cloud Executor: allows Google's health checks of workers"
  network     = google_compute_network.workers.id
  direction   = "INGRESS"
  priority    = 1000

  source_ranges           = ["130.211.0.0/22", "35.191.0.0/16"]
  target_service_accounts = [google_service_account.this["worker"].email]

  allow {
    protocol = "tcp"
    ports    = [local.health_port]
  }
}

# Pools in a subnetwork of the operator's own network. In another project's network (Shared VPC), the firewall is not ours
# to change, so their groups do without health checks, which would fail.
locals {
  own_subnetworks = {
    for name, pool in var.pools : name => {
      project = try(regex("projects/([^/]+)/", pool.subnetwork)[0], var.project_id)
      name    = reverse(split("/", pool.subnetwork))[0]
    } if pool.subnetwork != null
  }
  opened_subnetworks = { for name, subnetwork in local.own_subnetworks : name => subnetwork if subnetwork.project == var.project_id }
}

data "google_compute_subnetwork" "own" {
  for_each = local.opened_subnetworks

  project = each.value.project
  region  = var.region
  name    = each.value.name
}

resource "google_compute_firewall" "own_health_checks" {
  for_each = local.opened_subnetworks

  project     = var.project_id
  name        = "${var.name}-${each.key}-health-checks"
  description = "Cloud Executor: allows Google's health checks of workers of the pool ${each.key}"
  network     = data.google_compute_subnetwork.own[each.key].network
  direction   = "INGRESS"
  priority    = 1000

  source_ranges           = ["130.211.0.0/22", "35.191.0.0/16"]
  target_service_accounts = [google_service_account.this["worker"].email]

  allow {
    protocol = "tcp"
    ports    = [local.health_port]
  }
}

# Load balancer, with a domain only -----------------------------------------------------------------------------------

locals {
  load_balancer = var.domain == null ? 0 : 1
  backends      = var.domain == null ? toset([]) : local.services

  # Where Identity-Aware Proxy signs people in: at the load balancer's backends, or at the Cloud Run service itself.
  iap = nonsensitive(var.iap == null) ? null : var.domain == null ? "service" : "backend"

  certificate_tag = var.domain == null ? "" : substr(sha256(var.domain), 0, 8)
}

resource "google_compute_global_address" "api" {
  count = local.load_balancer

  project     = var.project_id
  name        = "${var.name}-api"
  description = "Cloud Executor: the address for the domain's A record"
  labels      = local.labels

  # Changing the description would replace the address and break the domain's A record.
  lifecycle {
    ignore_changes = [description]
  }

  depends_on = [google_project_service.required]
}

resource "google_compute_region_network_endpoint_group" "api" {
  for_each = local.backends

  project               = var.project_id
  region                = var.region
  name                  = "${var.name}-${each.key}"
  network_endpoint_type = "SERVERLESS"

  cloud_run {
    service = google_cloud_run_v2_service.this[each.key].name
  }
}

resource "google_compute_backend_service" "api" {
  for_each = local.backends

  project               = var.project_id
  name                  = "${var.name}-${each.key}"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  protocol              = "HTTPS"

  # Blobs are uploaded and downloaded in many requests, and their contents can look like an attack.
  security_policy = var.armor && each.key != "blob" ? google_compute_security_policy.api[0].id : null

  backend {
    group = google_compute_region_network_endpoint_group.api[each.key].id
  }

  log_config {
    enable      = true
    sample_rate = 0.1
  }

  dynamic "iap" {
    for_each = local.iap == "backend" ? [true] : []
    content {
      enabled              = true
      oauth2_client_id     = var.iap.client_id
      oauth2_client_secret = var.iap.client_secret
    }
  }
}

# The people that Identity-Aware Proxy lets through. It calls the functions as its own service account.
resource "google_iap_web_backend_service_iam_member" "api" {
  for_each = local.iap == "backend" ? {
    for pair in setproduct(local.backends, var.invokers) : "${pair[0]}/${pair[1]}" => { service = pair[0], member = pair[1] }
  } : {}

  project             = var.project_id
  web_backend_service = google_compute_backend_service.api[each.value.service].name
  role                = "roles/iap.httpsResourceAccessor"
  member              = each.value.member
}

resource "google_iap_web_cloud_run_service_iam_member" "api" {
  for_each = local.iap == "service" ? var.invokers : []

  project                = var.project_id
  location               = var.region
  cloud_run_service_name = google_cloud_run_v2_service.this["api"].name
  role                   = "roles/iap.httpsResourceAccessor"
  member                 = each.key
}

resource "google_compute_url_map" "api" {
  count = local.load_balancer

  project         = var.project_id
  name            = "${var.name}-api"
  default_service = google_compute_backend_service.api["executor"].id

  host_rule {
    hosts        = [var.domain]
    path_matcher = "api"
  }

  path_matcher {
    name            = "api"
    default_service = google_compute_backend_service.api["executor"].id

    # The functions ignore the case of paths too.
    route_rules {
      priority = 1
      service  = google_compute_backend_service.api["blob"].id
      match_rules {
        full_path_match = "/rest/blob"
        ignore_case     = true
      }
      match_rules {
        prefix_match = "/rest/blob/"
        ignore_case  = true
      }
    }
  }
}

resource "google_compute_managed_ssl_certificate" "api" {
  count = local.load_balancer

  project = var.project_id
  name    = "${var.name}-${local.certificate_tag}"

  managed {
    domains = [var.domain]
  }

  # A certificate in use cannot be deleted. When the domain changes, a new certificate with a new name is created first.
  lifecycle {
    create_before_destroy = true
  }

  depends_on = [google_project_service.required]
}

resource "google_compute_ssl_policy" "api" {
  count = local.load_balancer

  project         = var.project_id
  name            = "${var.name}-api"
  profile         = "MODERN"
  min_tls_version = "TLS_1_2"

  depends_on = [google_project_service.required]
}

resource "google_compute_target_https_proxy" "api" {
  count = local.load_balancer

  project          = var.project_id
  name             = "${var.name}-api"
  url_map          = google_compute_url_map.api[0].id
  ssl_certificates = [google_compute_managed_ssl_certificate.api[0].id]
  ssl_policy       = google_compute_ssl_policy.api[0].id
}

resource "google_compute_global_forwarding_rule" "https" {
  count = local.load_balancer

  project               = var.project_id
  name                  = "${var.name}-https"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  ip_address            = google_compute_global_address.api[0].id
  port_range            = "443"
  target                = google_compute_target_https_proxy.api[0].id
  labels                = local.labels
}

resource "google_compute_url_map" "redirect" {
  count = local.load_balancer

  project = var.project_id
  name    = "${var.name}-redirect"

  default_url_redirect {
    https_redirect         = true
    redirect_response_code = "PERMANENT_REDIRECT"
    strip_query            = false
  }

  depends_on = [google_project_service.required]
}

resource "google_compute_target_http_proxy" "redirect" {
  count = local.load_balancer

  project = var.project_id
  name    = "${var.name}-redirect"
  url_map = google_compute_url_map.redirect[0].id
}

resource "google_compute_global_forwarding_rule" "http" {
  count = local.load_balancer

  project               = var.project_id
  name                  = "${var.name}-http"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  ip_address            = google_compute_global_address.api[0].id
  port_range            = "80"
  target                = google_compute_target_http_proxy.redirect[0].id
  labels                = local.labels
}

resource "google_compute_security_policy" "api" {
  count = var.armor ? 1 : 0

  project     = var.project_id
  name        = "${var.name}-api"
  description = "Cloud Executor: limits the request rate per address and blocks known attacks"
  labels      = local.labels

  rule {
    priority    = 1000
    action      = "deny(403)"
    description = "Block critical vulnerabilities such as Log4j"
    match {
      expr {
        expression = "evaluatePreconfiguredWaf('cve-canary')"
      }
    }
  }

  rule {
    priority    = 2147483647
    action      = "throttle"
    description = "Limit the requests per minute from one address"
    match {
      versioned_expr = "SRC_IPS_V1"
      config {
        src_ip_ranges = ["*"]
      }
    }
    rate_limit_options {
      conform_action = "allow"
      exceed_action  = "deny(429)"
      enforce_on_key = "IP"
      rate_limit_threshold {
        count        = var.requests_per_minute
        interval_sec = 60
      }
    }
  }

  depends_on = [google_project_service.required]
}
