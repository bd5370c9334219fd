{{- define "trimtab.name" -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" .Release.Name) -}}
{{- fail (printf "the release is called %q, and Services are called after it, whose names begin with a letter and have no dots: choose another name" .Release.Name) -}}
{{- end -}}
{{- printf "%s-trimtab" .Release.Name | trunc 48 | trimSuffix "-" -}}
{{- end -}}

{{- define "trimtab.selector" -}}
app.kubernetes.io/name: trimtab
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "trimtab.labels" -}}
{{ include "trimtab.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{/* On every pod that runs the sidecar, also on a Deployment that is not the chart's. */}}
{{- define "trimtab.sidecarLabel" -}}
trimtab/sidecar: {{ include "trimtab.name" . }}
{{- end -}}

{{/* On every pod of a retraining Job: agent/launch/kubernetes.py puts it there. */}}
{{- define "trimtab.jobLabel" -}}
app.kubernetes.io/managed-by: trimtab-launcher
{{- end -}}

{{- define "trimtab.secret" -}}
{{- .Values.secrets.existingSecret | default (include "trimtab.name" .) -}}
{{- end -}}

{{- define "trimtab.claim" -}}
{{- .Values.storage.existingClaim | default (include "trimtab.name" .) -}}
{{- end -}}

{{/* In: (root, an `image` of the values). The registry, the name, its tag and its digest. */}}
{{- define "trimtab.image" -}}
{{- $root := index . 0 -}}{{- $image := index . 1 -}}
{{- with $root.Values.imageRegistry }}{{ trimSuffix "/" . }}/{{ end -}}
{{- $image.repository }}:{{ $image.tag | default $root.Chart.AppVersion }}
{{- with $image.digest }}@{{ . }}{{ end -}}
{{- end -}}

{{/* Where the pod keeps things. The home is a folder inside the claim, so that the sidecar may close it to others. */}}
{{- define "trimtab.state" -}}/var/lib/trimtab{{- end -}}
{{- define "trimtab.home" -}}{{ include "trimtab.state" . }}/home{{- end -}}

{{/* Whether a claim is mounted: with SQLite for all state, with PostgreSQL for accepted adapters, where there are any. */}}
{{- define "trimtab.hasClaim" -}}
{{- if or (eq .Values.database.kind "sqlite") (and (not .Values.objects.url) (ne .Values.mode "observe")) }}yes{{ end -}}
{{- end -}}
{{- define "trimtab.objects" -}}{{ include "trimtab.state" . }}/objects{{- end -}}

{{- define "trimtab.controllerName" -}}{{ include "trimtab.name" . }}-controller{{- end -}}
{{- define "trimtab.controllerSelector" -}}
{{ include "trimtab.selector" . }}
app.kubernetes.io/component: controller
{{- end -}}
{{- define "trimtab.controllerAccount" -}}
{{- .Values.controller.serviceAccount | default (include "trimtab.controllerName" .) -}}
{{- end -}}

{{/* Whose token may start Jobs: the controller's, where there is one, else the sidecar's. */}}
{{- define "trimtab.jobsAccount" -}}
{{- ternary (include "trimtab.controllerAccount" .) (include "trimtab.serviceAccount" .) .Values.controller.enabled -}}
{{- end -}}
{{- define "trimtab.sidecarStartsJobs" -}}
{{- if and (eq .Values.retraining.where "job") (not .Values.controller.enabled) }}yes{{ end -}}
{{- end -}}

{{- define "trimtab.serviceAccount" -}}
{{- .Values.serviceAccount.existing | default (include "trimtab.name" .) -}}
{{- end -}}

{{- define "trimtab.settings" -}}
{{- include "trimtab.settingsOf" (list . (ternary "sidecar" "all" .Values.controller.enabled)) -}}
{{- end -}}

{{/*
In: (root, role). The user's settings over what the chart suggests, and under what only the chart can know (see _checks.tpl).
A controller's differ in where it is reached, where it reaches the engines, and that orders are its own.
*/}}
{{- define "trimtab.settingsOf" -}}
{{- $role := index . 1 -}}
{{- with index . 0 -}}
{{- $v := .Values -}}
{{- $suggested := dict "notify" (dict "runbook" $v.prometheusRule.runbook) -}}
{{- $name := ternary (include "trimtab.controllerName" .) (printf "%s-agent" (include "trimtab.name" .)) (eq $role "controller") -}}
{{- $inside := printf "%s.%s.svc" $name .Release.Namespace -}}
{{- $hosts := list $name (printf "%s.%s" $name .Release.Namespace) $inside (printf "%s.cluster.local" $inside) -}}
{{- $hosts = concat $hosts (dig "http" "hosts" list $v.agent.settings) -}}
{{- $own := dict "home" (include "trimtab.home" .) "http" (dict "host" "0.0.0.0" "port" 8321 "hosts" $hosts) -}}
{{- if and $v.model.existingClaim $v.model.champion -}}
{{- $_ := set $own "champion" (printf "%s/%s" $v.model.mountPath $v.model.champion) -}}
{{- end -}}
{{- if ne $role "all" }}{{ $_ := set $own "role" $role }}{{ end -}}
{{- if ne $v.mode "observe" -}}
{{- $url := printf "http://127.0.0.1:%d" (int (ternary $v.attach.port 8000 (eq $v.mode "attach"))) -}}
{{- if eq $role "controller" }}{{ $url = include "trimtab.engineService" . }}{{ end -}}
{{- $_ := set $own "engine" (dict "url" $url "max_lora_rank" $v.engine.maxLoraRank) -}}
{{- end -}}
{{- if $v.objects.url -}}
{{- $objects := dict "url" $v.objects.url -}}
{{- with $v.objects.endpoint }}{{ $_ := set $objects "endpoint" . }}{{ end -}}
{{- with $v.objects.region }}{{ $_ := set $objects "region" . }}{{ end -}}
{{- $_ := set $own "objects" $objects -}}
{{- else if and (eq $v.database.kind "postgresql") (include "trimtab.hasClaim" .) -}}
{{- $_ := set $own "objects" (dict "url" (printf "file://%s" (include "trimtab.objects" .))) -}}
{{- end -}}
{{- if and (ne $v.retraining.where "none") (ne $role "sidecar") -}}
{{- $_ := set $suggested "retrain" (dict "base_model_path" (printf "%s/%s" $v.model.mountPath $v.model.path)) -}}
{{- $_ := set $own "retrain" (dict "launcher" (ternary "kubernetes" "local" (eq $v.retraining.where "job"))) -}}
{{- end -}}
{{- if and (eq $v.retraining.where "job") (ne $role "sidecar") -}}
{{- $_ := set $own.retrain "engine_url" "http://127.0.0.1:8000" -}}
{{- $resources := deepCopy $v.retraining.resources -}}
{{- if gt (int $v.retraining.gpus) 0 -}}
{{- $_ := set $resources "limits" (merge (dict $v.engine.gpuResource (int $v.retraining.gpus)) (get $resources "limits" | default dict)) -}}
{{- end -}}
{{- $claims := dict $v.model.existingClaim $v.model.mountPath -}}
{{- if include "trimtab.hasClaim" . }}{{ $_ := set $claims (include "trimtab.claim" .) (include "trimtab.objects" .) }}{{ end -}}
{{- $jobs := dict "image" (include "trimtab.image" (list . $v.retraining.image)) "resources" $resources "claims" $claims
      "secrets" (list (include "trimtab.secret" .) $v.database.existingSecret | uniq)
      "service_account" (printf "%s-retrain" (include "trimtab.name" .)) -}}
{{- with $v.retraining.queue }}{{ $_ := set $jobs "queue" . }}{{ end -}}
{{- $_ := set $own.retrain "kubernetes" $jobs -}}
{{- $_ := set $suggested.retrain "kubernetes" (dict "pod" (include "trimtab.jobPod" . | fromYaml)) -}}
{{- end -}}
{{- mustMergeOverwrite $suggested (deepCopy $v.agent.settings) $own | toYaml -}}
{{- end -}}
{{- end -}}

{{/*
In: (root, role). Changes when a pod of that role must start anew: with its settings, and with the addresses for messages, which
it reads from its environment; sidecars beside a controller send none.
*/}}
{{- define "trimtab.checksum" -}}
{{- $urls := ternary "" (index . 0).Values.secrets.notifyUrls (eq (index . 1) "sidecar") -}}
{{- printf "%s%s" (include "trimtab.settingsOf" .) $urls | sha256sum -}}
{{- end -}}
{{- define "trimtab.sidecarChecksum" -}}
{{- include "trimtab.checksum" (list . (ternary "sidecar" "all" .Values.controller.enabled)) -}}
{{- end -}}

{{/* Where a controller asks the engines, whichever of them answers. */}}
{{- define "trimtab.engineService" -}}
{{- if eq .Values.mode "attach" -}}
http://{{ include "trimtab.name" . }}-engine.{{ .Release.Namespace }}.svc:{{ .Values.attach.port }}
{{- else -}}
http://{{ include "trimtab.name" . }}.{{ .Release.Namespace }}.svc:{{ .Values.service.port }}
{{- end -}}
{{- end -}}

{{/* In: (root, variable, whether it may be missing). One variable out of the one Secret, under its own name. */}}
{{- define "trimtab.secretEnv" -}}
- name: {{ index . 1 }}
  valueFrom:
    secretKeyRef:
      name: {{ include "trimtab.secret" (index . 0) }}
      key: {{ index . 1 }}
      {{- if index . 2 }}
      optional: true
      {{- end }}
{{- end -}}

{{/* Nobody in particular, no rights, nothing to write but what is mounted for it. */}}
{{- define "trimtab.lockdown" -}}
runAsNonRoot: true
runAsUser: {{ .Values.user }}
runAsGroup: {{ .Values.user }}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "trimtab.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ .Values.user }}
runAsGroup: {{ .Values.user }}
fsGroup: {{ .Values.user }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* How images are fetched, and which pods come first: the same for every pod of the chart. */}}
{{- define "trimtab.everyPod" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{/* Where the pods that answer may run. */}}
{{- define "trimtab.scheduling" -}}
{{- include "trimtab.everyPod" . }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.topologySpreadConstraints }}
topologySpreadConstraints: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
