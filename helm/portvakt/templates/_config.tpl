{{- define "portvakt.configMapName" -}}
{{- default (printf "%s-config" (include "portvakt.fullname" .)) .Values.existingConfigMap -}}
{{- end -}}

{{/* Helm reads every number as a float and writes 1000000 as 1e+06, which is no whole number any more. */}}
{{- define "portvakt.wholeNumbers" -}}
{{- $node := . -}}
{{- if kindIs "map" $node -}}
  {{- range $key, $value := $node -}}
    {{- if kindIs "float64" $value -}}
      {{- if eq $value (floor $value) -}}
        {{- $_ := set $node $key (int64 $value) -}}
      {{- end -}}
    {{- else -}}
      {{- include "portvakt.wholeNumbers" $value -}}
    {{- end -}}
  {{- end -}}
{{- else if kindIs "slice" $node -}}
  {{- range $node -}}
    {{- include "portvakt.wholeNumbers" . -}}
  {{- end -}}
{{- end -}}
{{- end -}}

{{/* The configuration file: `config`, with the addresses that the chart decides. */}}
{{- define "portvakt.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- include "portvakt.wholeNumbers" $config -}}
{{- $listen := default (dict) $config.listen -}}
{{- $admin := default (dict) $config.admin -}}
{{- if or (hasKey $listen "address") (hasKey $admin "address") -}}
{{- fail "config.listen.address and config.admin.address: leave them out; `bindAddress` and `ports` decide them" -}}
{{- end -}}
{{- if hasKey $listen "workers" -}}
{{- fail "config.listen.workers: leave it out; `workers` decides it" -}}
{{- end -}}
{{- $_ := set $listen "address" (printf "%s:%d" .Values.bindAddress (int .Values.ports.http)) -}}
{{- $_ := set $listen "workers" (int .Values.workers) -}}
{{- $_ := set $admin "address" (printf "%s:%d" .Values.bindAddress (int .Values.ports.admin)) -}}
{{- $_ := set $config "listen" $listen -}}
{{- $_ := set $config "admin" $admin -}}
# Written by Helm from the value `config`.
{{ toYaml $config }}
{{- end -}}

{{/* Changes with the configuration; as an annotation of a pod it has the pod replaced when that does. */}}
{{- define "portvakt.configChecksum" -}}
{{- if .Values.existingConfigMap -}}
{{- .Values.existingConfigMap | sha256sum -}}
{{- else -}}
{{- include "portvakt.config" . | sha256sum -}}
{{- end -}}
{{- end -}}

{{/* Seconds, rounded up, of a time as Portvakt writes it: 250ms, 30s, 5m, 1h, 2d. Takes (key, text). */}}
{{- define "portvakt.seconds" -}}
{{- $key := index . 0 -}}
{{- $text := toString (index . 1) -}}
{{- if not (regexMatch "^[0-9]+(ms|s|m|h|d)$" $text) -}}
{{- fail (printf "%s: %q is no time such as 250ms, 30s or 5m" $key $text) -}}
{{- end -}}
{{- $number := regexFind "^[0-9]+" $text | int -}}
{{- $unit := regexFind "[a-z]+$" $text -}}
{{- if eq $unit "ms" -}}
{{- div (add $number 999) 1000 -}}
{{- else -}}
{{- mul $number (get (dict "s" 1 "m" 60 "h" 3600 "d" 86400) $unit) -}}
{{- end -}}
{{- end -}}

{{/* Longest time that a stop takes: shutdown.wait, then limits.drain_timeout, then what is written last. */}}
{{- define "portvakt.stopSeconds" -}}
{{- $config := default (dict) .Values.config -}}
{{- $limits := default (dict) $config.limits -}}
{{- $shutdown := default (dict) $config.shutdown -}}
{{- $drain := include "portvakt.seconds" (list "config.limits.drain_timeout" (default "30s" $limits.drain_timeout)) -}}
{{- $wait := include "portvakt.seconds" (list "config.shutdown.wait" (default "5s" $shutdown.wait)) -}}
{{- add (int $drain) (int $wait) 5 -}}
{{- end -}}

{{/* The pod's terminationGracePeriodSeconds as far as Portvakt is concerned. */}}
{{- define "portvakt.graceSeconds" -}}
{{- $least := include "portvakt.stopSeconds" . | int -}}
{{- $written := .Values.terminationGracePeriodSeconds -}}
{{- if kindIs "invalid" $written -}}
{{- add $least 5 -}}
{{- else if lt (int $written) $least -}}
{{- fail (printf "terminationGracePeriodSeconds: %d is less than the %d that shutdown.wait, limits.drain_timeout and 5 seconds make together" (int $written) $least) -}}
{{- else -}}
{{- int $written -}}
{{- end -}}
{{- end -}}

{{/* Hosts that are called over the internet: Maskinporten's and Altinn's. */}}
{{- define "portvakt.hosts" -}}
{{- $known := dict "prod" (list "maskinporten.no" "platform.altinn.no") "test" (list "test.maskinporten.no" "platform.tt02.altinn.no") -}}
{{- $hosts := .Values.networkPolicy.egress.hosts -}}
{{- $config := default (dict) .Values.config -}}
{{- if not $hosts -}}
{{- $hosts = get $known (default "" $config.environment) -}}
{{- end -}}
{{- if not $hosts -}}
{{- fail "networkPolicy.egress.hosts: name the hosts of Maskinporten and Altinn; `config.environment` does not tell them" -}}
{{- end -}}
{{- toYaml $hosts -}}
{{- end -}}

{{/* What no schema can say. */}}
{{- define "portvakt.check" -}}
{{- if and .Values.config .Values.existingConfigMap -}}
{{- fail "config, existingConfigMap: give the one or the other" -}}
{{- end -}}
{{- if not (or .Values.config .Values.existingConfigMap) -}}
{{- fail "config: write the configuration with its routes here, or name an `existingConfigMap`" -}}
{{- end -}}
{{- if eq .Values.ports.http .Values.ports.admin -}}
{{- fail "ports.admin: must differ from ports.http" -}}
{{- end -}}
{{- if eq .Values.mode "sidecar" -}}
{{- if and (not .Values.sidecar.podLabels) (or .Values.networkPolicy.enabled .Values.metrics.podMonitor.enabled) -}}
{{- fail "sidecar.podLabels: name the labels of the owner's pods, by which the network policy and the monitor find them" -}}
{{- end -}}
{{- if .Values.autoscaling.enabled -}}
{{- fail "autoscaling.enabled: in sidecar mode the pods are the owner's; scale them there" -}}
{{- end -}}
{{- if .Values.metrics.serviceMonitor.enabled -}}
{{- fail "metrics.serviceMonitor.enabled: in sidecar mode there is no service of ours; take metrics.podMonitor" -}}
{{- end -}}
{{- if eq .Values.state.kind "claim" -}}
{{- fail "state.kind: `claim` makes a StatefulSet of our own; in sidecar mode take emptyDir or existingClaim" -}}
{{- end -}}
{{- else -}}
{{- if and .Values.networkPolicy.enabled (not .Values.networkPolicy.egress.upstream) -}}
{{- fail "networkPolicy.egress.upstream: say where the upstream is, or nothing reaches it; or switch networkPolicy.enabled off" -}}
{{- end -}}
{{- if and (eq .Values.state.kind "existingClaim") (or .Values.autoscaling.enabled (gt (int .Values.replicaCount) 1)) -}}
{{- fail "state.kind: with existingClaim there is one replica, since each needs a register file of its own; take `claim` for more" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (lt (int .Values.autoscaling.maxReplicas) (int .Values.autoscaling.minReplicas)) -}}
{{- fail "autoscaling.maxReplicas: is less than autoscaling.minReplicas" -}}
{{- end -}}
{{- end -}}
{{- if and (eq .Values.state.kind "existingClaim") (not .Values.state.existingClaim) -}}
{{- fail "state.existingClaim: name the claim" -}}
{{- end -}}
{{- if and .Values.networkPolicy.protectUpstream.enabled (not .Values.networkPolicy.protectUpstream.podLabels) -}}
{{- fail "networkPolicy.protectUpstream.podLabels: name the labels of the upstream's pods" -}}
{{- end -}}
{{- end -}}
