package source

// Reasons of failed runs, as api/v1alpha1 names them: this package does not need the Kubernetes libraries for five texts.
const (
	reasonSourceUnreachable = "SourceUnreachable"
	reasonQueryFailed       = "QueryFailed"
	reasonMappingInvalid    = "MappingInvalid"
	reasonRunFailed         = "RunFailed"
	reasonSecretNotFound    = "SecretNotFound"
	reasonInvalidSpec       = "InvalidSpec"
)
