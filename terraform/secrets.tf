# What nobody may know. Both values are in Terraform's state too: whoever reads the state knows them.

locals {
  # Whoever applies for a push reads the state, and compares it with the secrets.
  secrets = merge(
    { pepper = google_secret_manager_secret.pepper.secret_id },
    var.require_nonce ? { nonce = google_secret_manager_secret.nonce[0].secret_id } : {},
  )
}

# The shared secret of the executor API -------------------------------------------------------------------------------

resource "random_password" "nonce" {
  count = var.require_nonce ? 1 : 0

  length  = 40
  special = false # it travels in a header
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

  # Functions that have not changed to a new one yet must find the old one when an instance starts.
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

# The pepper of personal access tokens --------------------------------------------------------------------------------

# Tokens are to be stored as hashes, made with this, so that a copy of the database alone lets nobody guess or make one.
# Without it no token is valid any more: it is never renewed, and outlives the deployment like the database that holds the
# hashes. No code reads it yet, so no account may but the one that deploys. What will must read version 1, and not the
# latest: another can only come from an accident.
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

  # What is there stays, whatever becomes of the random value in the state.
  lifecycle {
    ignore_changes = [secret_data]
  }
}
