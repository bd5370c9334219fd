{{- define "trimtab.name" -}}
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

{{/* The user's settings over what the chart suggests, and under what only the chart can know (see _checks.tpl). */}}
{{- define "trimtab.settings" -}}
{{- $suggested := dict "notify" (dict "runbook" .Values.prometheusRule.runbook) -}}
{{- $own := dict "home" (include "trimtab.home" .) "http" (dict "host" "0.0.0.0" "port" 8321) -}}
{{- if .Values.model.existingClaim -}}
{{- $_ := set $suggested "retrain" (dict "base_model_path" (printf "%s/%s" .Values.model.mountPath .Values.model.path)) -}}
{{- with .Values.model.champion -}}
{{- $_ := set $own "champion" (printf "%s/%s" $.Values.model.mountPath .) -}}
{{- end -}}
{{- end -}}
{{- if ne .Values.mode "observe" -}}
{{- $_ := set $own "engine" (dict "url" "http://127.0.0.1:8000" "max_lora_rank" .Values.engine.maxLoraRank) -}}
{{- end -}}
{{- mustMergeOverwrite $suggested (deepCopy .Values.agent.settings) $own | toYaml -}}
{{- end -}}

{{/* In: (root, variable, key, whether it may be missing). One variable out of the one Secret. */}}
{{- define "trimtab.secretEnv" -}}
- name: {{ index . 1 }}
  valueFrom:
    secretKeyRef:
      name: {{ include "trimtab.secret" (index . 0) }}
      key: {{ index . 2 }}
      {{- if index . 3 }}
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

{{/* Where pods may run, and how they are fetched: the same for every pod of the chart. */}}
{{- define "trimtab.scheduling" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
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
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}
