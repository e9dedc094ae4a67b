{{/* Name of everything here: at most 50 characters, so that suffixes fit in the 63 of a label. */}}
{{- define "portvakt.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Labels of every object. */}}
{{- define "portvakt.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ default .Chart.AppVersion .Values.image.tag | quote }}
app.kubernetes.io/component: {{ .Values.mode }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What the gateway's own pods are found by; never changed, since a Deployment's selector cannot be. */}}
{{- define "portvakt.gatewayLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: gateway
{{- end -}}

{{/* Labels of the pods that Portvakt runs in: its own, or the owner's. */}}
{{- define "portvakt.podLabels" -}}
{{- if eq .Values.mode "gateway" -}}
{{- include "portvakt.gatewayLabels" . -}}
{{- else -}}
{{- toYaml .Values.sidecar.podLabels -}}
{{- end -}}
{{- end -}}

{{- define "portvakt.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "portvakt.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "portvakt.image" -}}
{{- $repository := required "image.repository: name the repository that the image was pushed to (see docs/kubernetes.md)" .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* Deployment, or StatefulSet where every replica keeps a claim of its own. */}}
{{- define "portvakt.workloadKind" -}}
{{- ternary "StatefulSet" "Deployment" (eq .Values.state.kind "claim") -}}
{{- end -}}
