{{- define "trimtab.name" -}}
{{- printf "%s-trimtab" .Release.Name | trunc 52 | trimSuffix "-" -}}
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

{{- define "trimtab.secret" -}}
{{- .Values.token.existingSecret | default (include "trimtab.name" .) -}}
{{- end -}}

{{- define "trimtab.claim" -}}
{{- .Values.storage.existingClaim | default (include "trimtab.name" .) -}}
{{- end -}}

{{- define "trimtab.agentImage" -}}
{{- printf "%s:%s" .Values.agent.image.repository (.Values.agent.image.tag | default .Chart.AppVersion) -}}
{{- end -}}

{{/* What the chart decides wins over what the values say: the paths and ports below are the pod's own. */}}
{{- define "trimtab.settings" -}}
{{- $own := dict "home" "/var/lib/trimtab" "champion" (printf "/models/%s" .Values.model.champion)
      "engine" (dict "url" "http://127.0.0.1:8000") "http" (dict "host" "0.0.0.0" "port" 8321) -}}
{{- mustMergeOverwrite (deepCopy .Values.agent.settings) $own | toYaml -}}
{{- end -}}

{{- define "trimtab.tokenEnv" -}}
- name: TRIMTAB_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ include "trimtab.secret" . }}
      key: token
{{- end -}}
