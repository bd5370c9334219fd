{{/* The parts of a pod: the chart's own Deployment and the patch for another's are made of the same. */}}

{{/* The middleware is standard library alone: copied beside vLLM, it needs nothing installed there. */}}
{{- define "trimtab.middleware" -}}
name: trimtab-middleware
image: {{ include "trimtab.image" (list . .Values.agent.image) }}
command:
  - python
  - -c
  - |
    import pathlib, serving, shutil
    source = pathlib.Path(serving.__file__).parent
    shutil.copytree(source, "/middleware/serving", dirs_exist_ok=True)
securityContext: {{- include "trimtab.lockdown" . | nindent 2 }}
resources:
  requests: {cpu: 10m, memory: 64Mi}
  limits: {memory: 256Mi}
volumeMounts:
  - {name: trimtab-middleware, mountPath: /middleware}
{{- end -}}

{{- define "trimtab.agent" -}}
name: trimtab-agent
image: {{ include "trimtab.image" (list . .Values.agent.image) }}
command: [trimtab, agent, --settings, /etc/trimtab/agent.yaml]
env:
  {{- include "trimtab.secretEnv" (list . "TRIMTAB_TOKEN" "token" false) | nindent 2 }}
  {{- include "trimtab.secretEnv" (list . "TRIMTAB_ATTACH_TOKEN" "attach-token" true) | nindent 2 }}
  {{- include "trimtab.secretEnv" (list . "TRIMTAB_ALERT_TOKEN" "alert-token" true) | nindent 2 }}
  {{- include "trimtab.secretEnv" (list . "TRIMTAB_POLICY_TOKEN" "policy-token" true) | nindent 2 }}
  {{- include "trimtab.secretEnv" (list . "TRIMTAB_NOTIFY_URLS" "notify-urls" true) | nindent 2 }}
  {{- include "trimtab.secretEnv" (list . "TRIMTAB_JUDGE_KEY" "judge-key" true) | nindent 2 }}
  {{- if eq .Values.database.kind "postgresql" }}
  {{- include "trimtab.storeEnv" . | nindent 2 }}
  {{- end }}
  - {name: HOME, value: /tmp}
ports:
  - {name: agent, containerPort: 8321}
# Not /healthz: a database that is away is no reason to restart what holds the exchanges meanwhile. No startup probe either,
# for the engine would wait for it; the first minutes may bring the database up to date.
livenessProbe:
  httpGet: {path: /livez, port: agent}
  initialDelaySeconds: 300
  periodSeconds: 15
  timeoutSeconds: 5
  failureThreshold: 4
securityContext: {{- include "trimtab.lockdown" . | nindent 2 }}
resources: {{- toYaml .Values.agent.resources | nindent 2 }}
volumeMounts:
  {{- include "trimtab.stateMounts" . | nindent 2 }}
  - {name: trimtab-settings, mountPath: /etc/trimtab, readOnly: true}
  - {name: trimtab-scratch, mountPath: /tmp}
  {{- if .Values.model.existingClaim }}
  - {name: trimtab-models, mountPath: {{ .Values.model.mountPath }}, readOnly: true}
  {{- end }}
{{- end -}}

{{/* What vLLM's container needs to know, whoever runs it. */}}
{{- define "trimtab.engineEnv" -}}
{{- include "trimtab.secretEnv" (list . "TRIMTAB_TOKEN" "token" false) }}
- {name: TRIMTAB_SOCKET, value: {{ include "trimtab.home" . }}/agent.sock}
- {name: TRIMTAB_BUFFER_BYTES, value: "{{ mul .Values.engine.bufferMiB 1048576 }}"}
- {name: PYTHONPATH, value: /middleware}
- {name: VLLM_ALLOW_RUNTIME_LORA_UPDATING, value: "True"}
{{- end -}}

{{/* The address of PostgreSQL, out of a Secret, for the sidecar and for retraining. */}}
{{- define "trimtab.storeEnv" -}}
- name: TRIMTAB_STORE_URL
  valueFrom:
    secretKeyRef:
      name: {{ .Values.database.existingSecret }}
      key: {{ .Values.database.key }}
{{- end -}}

{{/*
With SQLite all state is one folder on the claim. With PostgreSQL only what pods share is on the claim, and the home, with
its socket, is each pod's own.
*/}}
{{- define "trimtab.stateMounts" -}}
{{- if eq .Values.database.kind "sqlite" -}}
- {name: trimtab-state, mountPath: {{ include "trimtab.state" . }}}
{{- else -}}
- {name: trimtab-home, mountPath: {{ include "trimtab.home" . }}}
{{- range list "adapters" "orders" "reports" }}
- {name: trimtab-state, mountPath: {{ include "trimtab.home" $ }}/{{ . }}, subPath: {{ . }}}
{{- end }}
{{- end -}}
{{- end -}}

{{/* Ready is who lists the alias: before the sidecar has loaded its adapter, clients would be told that there is no such model. */}}
{{- define "trimtab.engineReadiness" -}}
{{- if .Values.model.champion -}}
exec:
  command:
    - python3
    - -c
    - |
      import json, urllib.request
      with urllib.request.urlopen("http://127.0.0.1:8000/v1/models", timeout=5) as answer:
          names = [card["id"] for card in json.load(answer)["data"]]
      raise SystemExit({{ .Values.agent.settings.alias | default "home" | quote }} not in names)
periodSeconds: 10
timeoutSeconds: 10
{{- else -}}
httpGet: {path: /health, port: openai}
periodSeconds: 5
timeoutSeconds: 5
{{- end -}}
{{- end -}}

{{/* Read-only: the engine reads adapters and connects to the socket, it writes nothing here. */}}
{{- define "trimtab.engineMounts" -}}
{{- if eq .Values.database.kind "sqlite" -}}
- {name: trimtab-state, mountPath: {{ include "trimtab.state" . }}, readOnly: true}
{{- else -}}
- {name: trimtab-home, mountPath: {{ include "trimtab.home" . }}, readOnly: true}
- {name: trimtab-state, mountPath: {{ include "trimtab.home" . }}/adapters, subPath: adapters, readOnly: true}
{{- end }}
- {name: trimtab-middleware, mountPath: /middleware, readOnly: true}
{{- end -}}

{{/* The arguments without which Trimtab cannot work, as a YAML list. */}}
{{- define "trimtab.engineArgs" -}}
- --middleware=serving.middleware.Trimtab
- --enable-lora
- --max-loras={{ .Values.engine.maxLoras }}
- --max-cpu-loras={{ mul 2 .Values.engine.maxLoras }}
- --max-lora-rank={{ .Values.engine.maxLoraRank }}
{{- with .Values.engine.loraModules }}
- --lora-target-modules
{{- toYaml . | nindent 0 }}
{{- end }}
{{- end -}}

{{- define "trimtab.volumes" -}}
- name: trimtab-state
  persistentVolumeClaim:
    claimName: {{ include "trimtab.claim" . }}
{{- if eq .Values.database.kind "postgresql" }}
- name: trimtab-home
  emptyDir: {}
{{- end }}
- name: trimtab-settings
  configMap:
    name: {{ include "trimtab.name" . }}
- name: trimtab-scratch
  emptyDir: {}
{{- if .Values.model.existingClaim }}
- name: trimtab-models
  persistentVolumeClaim:
    claimName: {{ .Values.model.existingClaim }}
    readOnly: true
{{- end }}
{{- if ne .Values.mode "observe" }}
- name: trimtab-middleware
  emptyDir:
    sizeLimit: 16Mi
{{- end }}
{{- end -}}

{{- define "trimtab.engineResources" -}}
{{- $resources := deepCopy .Values.engine.resources -}}
{{- if gt (int .Values.engine.gpus) 0 -}}
{{- $limits := merge (dict .Values.engine.gpuResource (int .Values.engine.gpus)) (get $resources "limits" | default dict) -}}
{{- $_ := set $resources "limits" $limits -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}
