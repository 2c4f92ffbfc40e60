{{- define "kohort.labels" -}}
app.kubernetes.io/name: kohort
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "kohort.selector" -}}
app.kubernetes.io/name: kohort
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- /* kohort.image NAME: the full reference of one of the project's images. */ -}}
{{- define "kohort.image" -}}
{{- $root := index . 0 -}}
{{- $image := $root.Values.image -}}
{{- $tag := get $image.tags (index . 1) | default $image.tag | default $root.Chart.AppVersion -}}
{{- printf "%s/%s:%s" $image.registry (index . 1) $tag -}}
{{- end }}
