# Accounts and their roles. docs/deployment.md lists them with the reasons, and a test compares the two.

locals {
  accounts = merge(
    { for service in local.services : service => "Cloud Executor: the function ${service}" },
    {
      sweep       = "Cloud Executor: the function sweep"
      dead-letter = "Cloud Executor: the function dead_letter"
      scheduler   = "Cloud Executor: calls sweep and retention"
      events      = "Cloud Executor: delivers dead letters to the function dead_letter"
      worker      = "Cloud Executor: worker VMs"
    },
    local.deletes_old_data ? { retention = "Cloud Executor: the function retention" } : {},
    var.build == null ? {} : { deployer = "Cloud Executor: tests, builds, and deploys each push" },
  )

  serve_blobs = var.domain == null ? "api" : "blob"
  serve_jobs  = var.domain == null ? "api" : "executor"

  # Firestore roles cannot be granted on a database, so a condition limits the project's roles to our database.
  database_roles = {
    for account in concat([local.serve_jobs, "sweep", "dead-letter", "worker"], local.deletes_old_data ? ["retention"] : []) : "${account}/database" => {
      account   = account
      role      = "roles/datastore.user"
      condition = "resource.name == \"projects/${var.project_id}/databases/${var.firestore_database}\""
    }
  }

  # The function blob reads tokens, and records whose contents it has stored. The single function of a deployment without
  # a domain may do that anyway.
  token_roles = (local.has_tokens || local.has_accounts) && local.serve_blobs != local.serve_jobs ? {
    "${local.serve_blobs}/tokens" = {
      account   = local.serve_blobs
      role      = "roles/datastore.user"
      condition = local.database_roles["sweep/database"].condition
    }
  } : {}

  project_roles = merge(local.database_roles, local.token_roles, {
    # The logging and metric roles cannot be granted on anything smaller than the project.
    "worker/logs"    = { account = "worker", role = "roles/logging.logWriter", condition = null }
    "worker/metrics" = { account = "worker", role = "roles/monitoring.metricWriter", condition = null }
  })

  buckets = { blobs = google_storage_bucket.blobs.name, staging = google_storage_bucket.staging.name }

  # The worker can neither replace nor delete contents and zips. Only large uploads in flight are renamed, which deletes
  # the old name: those of VMs that were created before the staging bucket are in the bucket for blobs.
  bucket_roles = merge(
    {
      for bucket, _ in local.buckets : "${local.serve_blobs}/${bucket}" => { account = local.serve_blobs, bucket = bucket, role = "roles/storage.objectUser", prefixes = [] }
    },
    {
      for grant in flatten([
        for bucket, _ in local.buckets : [
          { name = "read", bucket = bucket, role = "roles/storage.objectViewer", prefixes = [] },
          { name = "create", bucket = bucket, role = "roles/storage.objectCreator", prefixes = [] },
          { name = "uploads", bucket = bucket, role = "roles/storage.objectUser", prefixes = ["wg-temp/"] },
        ]
      ]) : "worker/${grant.name}${grant.bucket == "blobs" ? "" : "-${grant.bucket}"}" => merge(grant, { account = "worker" })
    },
    # A content that is stored again counts as used, so that it is not deleted as old.
    { "worker/use" = { account = "worker", bucket = "blobs", role = google_project_iam_custom_role.objects["use"].name, prefixes = ["wg-content/", "wg-metadata/"] } },
    local.deletes_old_data ? {
      "retention/read"   = { account = "retention", bucket = "blobs", role = "roles/storage.objectViewer", prefixes = [] }
      "retention/lists"  = { account = "retention", bucket = "blobs", role = "roles/storage.objectUser", prefixes = ["wg-gc/"] }
      "retention/delete" = { account = "retention", bucket = "blobs", role = google_project_iam_custom_role.objects["delete"].name, prefixes = ["wg-content/", "wg-metadata/"] }
      "retention/zips"   = { account = "retention", bucket = "staging", role = google_project_iam_custom_role.objects["delete"].name, prefixes = ["wg-zip/"] }
    } : {},
  )

  registry_roles = {
    worker = "roles/artifactregistry.reader"
  }
}

resource "google_service_account" "this" {
  for_each = local.accounts

  project      = var.project_id
  account_id   = "${var.name}-${each.key}"
  display_name = each.value

  depends_on = [google_project_service.required]
}

resource "google_project_iam_member" "this" {
  for_each = local.project_roles

  project = var.project_id
  role    = each.value.role
  member  = google_service_account.this[each.value.account].member

  dynamic "condition" {
    for_each = each.value.condition == null ? [] : [each.value.condition]
    content {
      title      = "only-${var.name}"
      expression = condition.value
    }
  }
}

resource "google_storage_bucket_iam_member" "this" {
  for_each = local.bucket_roles

  bucket = local.buckets[each.value.bucket]
  role   = each.value.role
  member = google_service_account.this[each.value.account].member

  dynamic "condition" {
    for_each = length(each.value.prefixes) == 0 ? [] : [each.value.prefixes]
    content {
      title      = contains(each.value.prefixes, "wg-temp/") ? "uploads-in-flight" : "objects"
      expression = join(" || ", [for prefix in condition.value : "resource.name.startsWith(\"projects/_/buckets/${local.buckets[each.value.bucket]}/objects/${prefix}\")"])
    }
  }
}

# Three accounts publish: the API for created jobs, the sweep for jobs that a crash kept from being published, and the
# worker for jobs that it hands over to another pool.
resource "google_pubsub_topic_iam_member" "publisher" {
  for_each = {
    for pair in setproduct([local.serve_jobs, "sweep", "worker"], keys(var.pools)) : "${pair[0]}/${pair[1]}" => { account = pair[0], pool = pair[1] }
  }

  project = var.project_id
  topic   = google_pubsub_topic.pool[each.value.pool].name
  role    = "roles/pubsub.publisher"
  member  = google_service_account.this[each.value.account].member
}

resource "google_pubsub_subscription_iam_member" "worker" {
  for_each = var.pools

  project      = var.project_id
  subscription = google_pubsub_subscription.pool[each.key].name
  role         = "roles/pubsub.subscriber"
  member       = google_service_account.this["worker"].member
}

# Pub/Sub's own service account moves messages to the dead-letter topic.
resource "google_pubsub_topic_iam_member" "dead_letter" {
  project = var.project_id
  topic   = google_pubsub_topic.dead_letter.name
  role    = "roles/pubsub.publisher"
  member  = local.service_agents.pubsub

  depends_on = [google_project_service_identity.agent]
}

resource "google_pubsub_subscription_iam_member" "dead_letter" {
  for_each = var.pools

  project      = var.project_id
  subscription = google_pubsub_subscription.pool[each.key].name
  role         = "roles/pubsub.subscriber"
  member       = local.service_agents.pubsub

  depends_on = [google_project_service_identity.agent]
}

# The function signs URLs of the bucket as its own account, without a key.
resource "google_service_account_iam_member" "sign_urls" {
  service_account_id = google_service_account.this[local.serve_blobs].name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = google_service_account.this[local.serve_blobs].member
}

# Pub/Sub's own service account signs the tokens that prove to the function dead_letter who pushes. Google grants it no
# role for that, because Terraform creates it.
resource "google_service_account_iam_member" "push_tokens" {
  service_account_id = google_service_account.this["events"].name
  role               = "roles/iam.serviceAccountOpenIdTokenCreator"
  member             = local.service_agents.pubsub

  depends_on = [google_project_service_identity.agent]
}

resource "google_artifact_registry_repository_iam_member" "this" {
  for_each = local.registry_roles

  project    = var.project_id
  location   = var.region
  repository = google_artifact_registry_repository.images.name
  role       = each.value
  member     = google_service_account.this[each.key].member
}

# A deleted role blocks its ID for weeks, so a redeployment needs another one.
resource "random_id" "roles" {
  byte_length = 4
}

# The worker has no permission on its group, because a permission cannot be limited to one group: a job that escapes from
# its container could rewrite every group of the project. It asks the function sweep, which checks which VM asks.
resource "google_project_iam_custom_role" "manage_groups" {
  for_each = {
    grow = {
      title       = "Cloud Executor: grow worker groups"
      description = "Lets the functions ask the autoscaler of a pool for VMs"
      permissions = [
        "compute.autoscalers.get", "compute.autoscalers.update", "compute.instanceGroupManagers.get", "compute.instanceGroupManagers.use",
      ]
    }
    shrink = {
      title       = "Cloud Executor: shrink worker groups"
      description = "Lets the function sweep delete the VM of an idle worker"
      # This permission reaches only VMs in a group: the group deletes the VM, using Google's own service account.
      permissions = ["compute.instanceGroupManagers.update"]
    }
  }

  project     = var.project_id
  role_id     = "${replace(var.name, "-", "_")}_${each.key}_${random_id.roles.hex}"
  title       = each.value.title
  description = each.value.description
  permissions = each.value.permissions
}

# No predefined role has only one of these permissions.
resource "google_project_iam_custom_role" "objects" {
  for_each = merge(
    {
      use = {
        title       = "Cloud Executor: note the use of objects"
        description = "Lets workers change the metadata of objects, not their bytes"
        permissions = ["storage.objects.update"]
      }
    },
    local.deletes_old_data ? {
      delete = {
        title       = "Cloud Executor: delete objects"
        description = "Lets the function retention delete what nothing needs"
        permissions = ["storage.objects.delete"]
      }
    } : {},
  )

  project     = var.project_id
  role_id     = "${replace(var.name, "-", "_")}_${each.key}_objects_${random_id.roles.hex}"
  title       = each.value.title
  description = each.value.description
  permissions = each.value.permissions
}

# Roles cannot be granted on an instance group, and IAM conditions do not support groups.
resource "google_project_iam_member" "manage_groups" {
  for_each = {
    "${local.serve_jobs}/grow" = { account = local.serve_jobs, role = "grow" }
    "sweep/grow"               = { account = "sweep", role = "grow" }
    "sweep/shrink"             = { account = "sweep", role = "shrink" }
  }

  project = var.project_id
  role    = google_project_iam_custom_role.manage_groups[each.value.role].name
  member  = google_service_account.this[each.value.account].member
}

# Callers of the functions --------------------------------------------------------------------------------------------

resource "google_cloud_run_v2_service_iam_member" "sweep" {
  for_each = toset(["scheduler", "worker"])

  project  = var.project_id
  location = var.region
  name     = google_cloud_run_v2_service.this["sweep"].name
  role     = "roles/run.invoker"
  member   = google_service_account.this[each.key].member
}

moved {
  from = google_cloud_run_v2_service_iam_member.sweep
  to   = google_cloud_run_v2_service_iam_member.sweep["scheduler"]
}

resource "google_cloud_run_v2_service_iam_member" "retention" {
  count = local.deletes_old_data ? 1 : 0

  project  = var.project_id
  location = var.region
  name     = google_cloud_run_v2_service.this["retention"].name
  role     = "roles/run.invoker"
  member   = google_service_account.this["scheduler"].member
}

resource "google_cloud_run_v2_service_iam_member" "dead_letter" {
  project  = var.project_id
  location = var.region
  name     = google_cloud_run_v2_service.this["dead-letter"].name
  role     = "roles/run.invoker"
  member   = google_service_account.this["events"].member
}

resource "google_cloud_run_v2_service_iam_member" "invoker" {
  for_each = {
    for pair in setproduct(local.services, local.invokers) : "${pair[0]}/${pair[1]}" => { service = pair[0], member = pair[1] }
  }

  project  = var.project_id
  location = var.region
  name     = google_cloud_run_v2_service.this[each.value.service].name
  role     = "roles/run.invoker"
  member   = each.value.member
}

locals {
  # With Identity-Aware Proxy, only the proxy calls the functions. With invoker_iam_disabled, nobody needs the role.
  invokers = var.allow_unauthenticated ? [] : local.iap != null ? [local.service_agents.iap] : var.invokers
}

# Customer-managed encryption key -------------------------------------------------------------------------------------

resource "google_kms_crypto_key_iam_member" "service_agents" {
  for_each = var.kms_key == null ? toset([]) : toset(["compute", "pubsub", "registry", "storage"])

  crypto_key_id = var.kms_key
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = local.service_agents[each.key]

  depends_on = [google_project_service_identity.agent]
}
