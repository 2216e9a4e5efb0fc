//! `[runners.cache]`: the store for caches.

use serde::{Deserialize, Serialize};

use crate::secret::Secret;

/// `[runners.cache]`. GitLab Runner spells these keys in CamelCase.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Cache {
    /// `s3`, `gcs` or `azure`; empty means that there is no store.
    #[serde(alias = "type")]
    pub r#type: String,
    /// Folder in the store.
    #[serde(alias = "path")]
    pub path: String,
    /// Runners share their caches.
    #[serde(alias = "shared")]
    pub shared: bool,
    /// Largest archive in bytes that is uploaded; 0 means any.
    pub max_uploaded_archive_size: i64,
    /// Amazon S3 and what speaks like it.
    #[serde(rename = "s3")]
    pub s3: Option<CacheS3>,
    /// Google Cloud Storage.
    #[serde(rename = "gcs")]
    pub gcs: Option<CacheGcs>,
    /// Azure Blob Storage.
    #[serde(rename = "azure")]
    pub azure: Option<CacheAzure>,
}

/// `[runners.cache.s3]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct CacheS3 {
    /// Host; `s3.amazonaws.com` if empty.
    pub server_address: String,
    /// Access key.
    pub access_key: Secret,
    /// Secret key.
    pub secret_key: Secret,
    /// Session token.
    pub session_token: Secret,
    /// Bucket.
    pub bucket_name: String,
    /// Region.
    pub bucket_location: String,
    /// Plain HTTP.
    pub insecure: bool,
    /// `access-key` or `iam`.
    pub authentication_type: String,
    /// Encryption.
    pub server_side_encryption: String,
    /// Key of the encryption.
    #[serde(rename = "ServerSideEncryptionKeyID")]
    pub server_side_encryption_key_id: String,
    /// IPv4 and IPv6; on if not set.
    pub dual_stack: Option<bool>,
    /// Bucket in the path instead of the host.
    pub path_style: Option<bool>,
    /// Transfer acceleration.
    pub accelerate: bool,
    /// Role for downloads.
    #[serde(rename = "RoleARN")]
    pub role_arn: String,
    /// Role for uploads.
    #[serde(rename = "UploadRoleARN")]
    pub upload_role_arn: String,
    /// Parallel requests for a role; 5 if not set.
    pub assume_role_max_concurrency: i64,
    /// Ask for a role each time.
    pub disable_assume_role_credentials_caching: bool,
}

/// `[runners.cache.gcs]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct CacheGcs {
    /// Account.
    #[serde(rename = "AccessID")]
    pub access_id: String,
    /// Its key.
    pub private_key: Secret,
    /// File with both.
    pub credentials_file: String,
    /// Bucket.
    pub bucket_name: String,
    /// Domain of the cloud.
    pub universe_domain: String,
}

/// `[runners.cache.azure]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct CacheAzure {
    /// Account.
    pub account_name: String,
    /// Its key.
    pub account_key: Secret,
    /// Container.
    pub container_name: String,
    /// Domain of the store; `blob.core.windows.net` if empty.
    pub storage_domain: String,
}
