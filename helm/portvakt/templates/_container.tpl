{{/* The container, without its restart policy. */}}
{{- define "portvakt.container" -}}
{{- include "portvakt.check" . -}}
name: portvakt
image: {{ include "portvakt.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args: ["run", "--config", "/etc/portvakt/portvakt.yaml"]
ports:
  - name: portvakt
    containerPort: {{ .Values.ports.http }}
    protocol: TCP
  - name: portvakt-admin
    containerPort: {{ .Values.ports.admin }}
    protocol: TCP
{{- with .Values.secrets.envFrom }}
envFrom:
  {{- range . }}
  - secretRef:
      name: {{ . }}
  {{- end }}
{{- end }}
{{- if or .Values.env .Values.secrets.env }}
env:
  {{- range $name, $value := .Values.env }}
  - name: {{ $name }}
    value: {{ $value | quote }}
  {{- end }}
  {{- range $name, $from := .Values.secrets.env }}
  - name: {{ $name }}
    valueFrom:
      secretKeyRef:
        name: {{ $from.secret }}
        key: {{ $from.key }}
  {{- end }}
{{- end }}
# Alive is not ready: what waits for Maskinporten's keys is not helped by a restart.
startupProbe:
  httpGet:
    path: /livez
    port: portvakt-admin
  {{- toYaml .Values.probes.startup | nindent 2 }}
livenessProbe:
  httpGet:
    path: /livez
    port: portvakt-admin
  {{- toYaml .Values.probes.liveness | nindent 2 }}
readinessProbe:
  httpGet:
    path: /readyz
    port: portvakt-admin
  {{- toYaml .Values.probes.readiness | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  capabilities:
    drop: ["ALL"]
  privileged: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  {{- with .Values.user.id }}
  runAsUser: {{ . }}
  {{- end }}
  {{- with .Values.user.group }}
  runAsGroup: {{ . }}
  {{- end }}
  seccompProfile:
    type: RuntimeDefault
resources:
  {{- toYaml .Values.resources | nindent 2 }}
volumeMounts:
  # The folder, not the file: Kubernetes brings a changed file into folders only.
  - name: portvakt-config
    mountPath: /etc/portvakt
    readOnly: true
  - name: portvakt-state
    mountPath: /var/lib/portvakt
  {{- range .Values.secrets.files }}
  - name: portvakt-{{ .name }}
    mountPath: {{ default (printf "/var/run/secrets/portvakt/%s" .name) .mountPath }}
    readOnly: true
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/*
For the owner's chart: an entry of `initContainers`, which Kubernetes starts before the other containers,
keeps running, and stops after them.

    initContainers:
      - {{ include "portvakt.sidecar" .Subcharts.portvakt | indent 8 | trim }}
*/}}
{{- define "portvakt.sidecar" -}}
{{- if ne .Values.mode "sidecar" -}}
{{- fail "mode: must be `sidecar` where the sidecar is put into another chart's pod" -}}
{{- end -}}
{{ include "portvakt.container" . }}
restartPolicy: Always
{{- end -}}

{{/* For the owner's chart: entries of `volumes` that the sidecar needs. */}}
{{- define "portvakt.volumes" -}}
- name: portvakt-config
  configMap:
    name: {{ include "portvakt.configMapName" . }}
{{- if eq .Values.state.kind "emptyDir" }}
- name: portvakt-state
  emptyDir:
    sizeLimit: {{ .Values.state.size }}
    {{- with .Values.state.medium }}
    medium: {{ . }}
    {{- end }}
{{- else if eq .Values.state.kind "existingClaim" }}
- name: portvakt-state
  persistentVolumeClaim:
    claimName: {{ .Values.state.existingClaim }}
{{- end }}
{{- range .Values.secrets.files }}
- name: portvakt-{{ .name }}
  secret:
    secretName: {{ .secret }}
    # For any user: which one the platform runs us as is not known here, and no other container mounts it.
    defaultMode: 0444
    {{- with .items }}
    items:
      {{- toYaml . | nindent 6 }}
    {{- end }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The pod's securityContext: that of the restricted standard. Users are each container's own matter. */}}
{{- define "portvakt.podSecurityContext" -}}
runAsNonRoot: true
{{- with .Values.user.group }}
# So that the volume with the register can be written to.
fsGroup: {{ . }}
fsGroupChangePolicy: OnRootMismatch
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}
