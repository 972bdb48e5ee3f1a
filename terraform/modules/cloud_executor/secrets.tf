# The secrets of a deployment. Terraform's state contains all values: anyone who can read the state knows them.

locals {
  # The account that applies a push reads the state and compares it with these secrets.
  secrets = merge(
    { pepper = google_secret_manager_secret.pepper.secret_id },
    var.require_nonce ? { nonce = google_secret_manager_secret.nonce[0].secret_id } : {},
    local.has_admin_token ? { admin_token = google_secret_manager_secret.admin_token[0].secret_id } : {},
  )

  # Requests about blobs need a credential only if requests without one are refused.
  nonce_readers = var.require_nonce ? setsubtract(local.services, local.is_open ? ["blob"] : []) : toset([])
}

# The shared secret of the executor API -------------------------------------------------------------------------------

resource "random_password" "nonce" {
  count = var.require_nonce ? 1 : 0

  length  = 40
  special = false # the nonce is sent in a header
}

resource "google_secret_manager_secret" "nonce" {
  count = var.require_nonce ? 1 : 0

  project   = var.project_id
  secret_id = "${var.name}-nonce"
  labels    = local.labels

  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }

  depends_on = [google_project_service.required]
}

resource "google_secret_manager_secret_version" "nonce" {
  count = var.require_nonce ? 1 : 0

  secret      = google_secret_manager_secret.nonce[0].id
  secret_data = random_password.nonce[0].result

  # Functions that do not use the new version yet need the old one whenever an instance starts.
  lifecycle {
    create_before_destroy = true
  }
}

resource "google_secret_manager_secret_iam_member" "nonce" {
  count = var.require_nonce ? 1 : 0

  project   = var.project_id
  secret_id = google_secret_manager_secret.nonce[0].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.this[local.serve_jobs].member
}

# With a single function, the grant above covers blobs too.
resource "google_secret_manager_secret_iam_member" "blob_nonce" {
  for_each = setsubtract(local.nonce_readers, [local.serve_jobs])

  project   = var.project_id
  secret_id = google_secret_manager_secret.nonce[0].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.this[each.key].member
}

# The pepper of access tokens -----------------------------------------------------------------------------------------

# Tokens are stored as hashes made with the pepper, so that nobody can guess or forge a token with a copy of the database
# alone. Losing the pepper invalidates every token, so it is never renewed, and it outlives the deployment like the
# database with the hashes. Without tokens, only the account that deploys has access.
resource "random_bytes" "pepper" {
  length = 32
}

resource "google_secret_manager_secret" "pepper" {
  project             = var.project_id
  secret_id           = "${var.name}-token-pepper"
  labels              = local.labels
  deletion_protection = var.delete_protection

  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }

  depends_on = [google_project_service.required]
}

resource "google_secret_manager_secret_version" "pepper" {
  secret          = google_secret_manager_secret.pepper.id
  secret_data     = random_bytes.pepper.base64
  deletion_policy = var.delete_protection ? "ABANDON" : "DELETE"

  # Keeps the stored pepper even if the random value in the state changes.
  lifecycle {
    ignore_changes = [secret_data]
  }
}

resource "google_secret_manager_secret_iam_member" "pepper" {
  for_each = local.has_tokens ? local.services : toset([])

  project   = var.project_id
  secret_id = google_secret_manager_secret.pepper.secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.this[each.key].member
}

# The administrator's token -------------------------------------------------------------------------------------------

# It creates the tokens of people, which are stored in the database and can be revoked one by one. To renew it, replace
# random_password.admin_token.
locals {
  has_admin_token = local.has_tokens && var.admin_token
}

resource "random_password" "admin_token" {
  count = local.has_admin_token ? 1 : 0

  length  = 43 # 256 bits
  special = false
}

resource "google_secret_manager_secret" "admin_token" {
  count = local.has_admin_token ? 1 : 0

  project   = var.project_id
  secret_id = "${var.name}-admin-token"
  labels    = local.labels

  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }

  depends_on = [google_project_service.required]
}

resource "google_secret_manager_secret_version" "admin_token" {
  count = local.has_admin_token ? 1 : 0

  secret      = google_secret_manager_secret.admin_token[0].id
  secret_data = "cex_${random_password.admin_token[0].result}"

  lifecycle {
    create_before_destroy = true # as for the nonce
  }
}

resource "google_secret_manager_secret_iam_member" "admin_token" {
  for_each = local.has_admin_token ? local.services : toset([])

  project   = var.project_id
  secret_id = google_secret_manager_secret.admin_token[0].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.this[each.key].member
}
