//! Which artifact types there are, how each is stored, and what its file is called (GitLab runner
//! API: artifact types and formats).

/// Type, format, file name in the payload, key under `artifacts:reports` if it can stand there.
const TYPES: &[(&str, &str, &str)] = &[
    ("archive", "zip", ""),
    ("lsif", "zip", "lsif.json"),
    ("scip", "zip", "index.scip"),
    ("metadata", "gzip", ""),
    ("junit", "gzip", "junit.xml"),
    ("metrics", "gzip", "metrics.txt"),
    ("metrics_referee", "gzip", ""),
    ("network_referee", "gzip", ""),
    ("dotenv", "gzip", ".env"),
    ("cobertura", "gzip", "cobertura-coverage.xml"),
    ("jacoco", "gzip", "jacoco-coverage.xml"),
    ("cluster_applications", "gzip", "gl-cluster-applications.json"),
    ("cyclonedx", "gzip", "gl-sbom.cdx.json"),
    ("annotations", "gzip", "gl-annotations.json"),
    ("repository_xray", "gzip", "gl-repository-xray.json"),
    ("trace", "raw", ""),
    ("sast", "raw", "gl-sast-report.json"),
    ("secret_detection", "raw", "gl-secret-detection-report.json"),
    ("dependency_scanning", "raw", "gl-dependency-scanning-report.json"),
    ("container_scanning", "raw", "gl-container-scanning-report.json"),
    ("cluster_image_scanning", "raw", "gl-cluster-image-scanning-report.json"),
    ("dast", "raw", "gl-dast-report.json"),
    ("license_scanning", "raw", "gl-license-scanning-report.json"),
    ("accessibility", "raw", "gl-accessibility.json"),
    ("codequality", "raw", "gl-code-quality-report.json"),
    ("performance", "raw", "performance.json"),
    ("browser_performance", "raw", "browser-performance.json"),
    ("load_performance", "raw", "load-performance.json"),
    ("terraform", "raw", "tfplan.json"),
    ("requirements", "raw", "requirements.json"),
    ("requirements_v2", "raw", "requirements_v2.json"),
    ("coverage_fuzzing", "raw", "gl-coverage-fuzzing.json"),
    ("api_fuzzing", "raw", "gl-api-fuzzing-report.json"),
    ("sarif", "raw", "gl-sarif-report.sarif"),
];

/// Whether GitLab knows such a type.
pub(crate) fn is_type(file_type: &str) -> bool {
    TYPES.iter().any(|(name, ..)| *name == file_type)
}

/// Whether files of this type are stored in this format.
pub(crate) fn format_fits(file_type: &str, file_format: &str) -> bool {
    TYPES.iter().any(|(name, format, _)| *name == file_type && *format == file_format)
}

/// Format and file name of a report that a definition can ask for.
pub(crate) fn report(file_type: &str) -> Option<(&'static str, &'static str)> {
    TYPES
        .iter()
        .find(|(name, _, file)| *name == file_type && !file.is_empty())
        .map(|(_, format, file)| (*format, *file))
}
