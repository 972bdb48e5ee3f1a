# A configuration of your own that uses the module. `make deploy` builds and pushes the two images; here, their names are
# variables.

terraform {
  required_version = ">= 1.9, < 2.0"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 7.21, < 8.0"
    }
    google-beta = {
      source  = "hashicorp/google-beta"
      version = ">= 7.21, < 8.0"
    }
    random = {
      source  = "hashicorp/random"
      version = ">= 3.7, < 4.0"
    }
  }
}

variable "project_id" {
  description = "The project to deploy into."
  type        = string
}

variable "worker_image" {
  description = "The worker's image, built from worker_vm/Dockerfile."
  type        = string
}

variable "functions_image" {
  description = "The functions' image, built from functions/Dockerfile."
  type        = string
}

provider "google" {
  project               = var.project_id
  billing_project       = var.project_id
  user_project_override = true
}

provider "google-beta" {
  project = var.project_id
}

module "executor" {
  source = "../../modules/cloud_executor"

  project_id      = var.project_id
  name            = "executor"
  worker_image    = var.worker_image
  functions_image = var.functions_image
  invokers        = ["group:lab@example.com"] # names that are known when Terraform plans

  pools = {
    default = { max_workers = 4 }
    large   = { labels = ["large"], machine_type = "e2-highmem-16", slots = 2 }
  }
}

output "url" {
  description = "The URL of the API, which is also the audience of callers' identity tokens."
  value       = module.executor.url
}
