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
image: {{ include "trimtab.image" (list . (ternary .Values.retraining.image .Values.agent.image (eq .Values.retraining.where "sidecar"))) }}
command: [trimtab, agent, --settings, /etc/trimtab/agent.yaml]
env:
  {{- include "trimtab.agentEnv" (list . (list "ATTACH_TOKEN" "ALERT_TOKEN" "POLICY_TOKEN" "NOTIFY_URLS" "JUDGE_KEY")) | nindent 2 }}
{{ include "trimtab.agentDoor" . }}
resources: {{- toYaml (ternary .Values.retraining.resources .Values.agent.resources (eq .Values.retraining.where "sidecar")) | nindent 2 }}
volumeMounts:
  {{- include "trimtab.stateMounts" . | nindent 2 }}
  {{- if include "trimtab.sidecarStartsJobs" . }}
  {{- include "trimtab.kubernetesMount" . | nindent 2 }}
  {{- end }}
  {{- include "trimtab.agentMounts" . | nindent 2 }}
{{- end -}}

{{/* The same program without taps and without an engine: it decides. */}}
{{- define "trimtab.controller" -}}
name: trimtab-controller
image: {{ include "trimtab.image" (list . .Values.agent.image) }}
command: [trimtab, agent, --settings, /etc/trimtab/agent.yaml]
env:
  {{- include "trimtab.agentEnv" (list . (list "ALERT_TOKEN" "POLICY_TOKEN" "NOTIFY_URLS" "JUDGE_KEY")) | nindent 2 }}
{{ include "trimtab.agentDoor" . }}
readinessProbe:
  httpGet: {path: /healthz, port: agent}
  periodSeconds: 5
  timeoutSeconds: 5
resources: {{- toYaml .Values.controller.resources | nindent 2 }}
volumeMounts:
  {{- include "trimtab.stateMounts" . | nindent 2 }}
  {{- if eq .Values.retraining.where "job" }}
  {{- include "trimtab.kubernetesMount" . | nindent 2 }}
  {{- end }}
  {{- include "trimtab.agentMounts" . | nindent 2 }}
{{- end -}}

{{/* In: (root, which of TRIMTAB_... besides the token). What the program is told by its environment. */}}
{{- define "trimtab.agentEnv" -}}
{{- $names := index . 1 -}}
{{- with index . 0 -}}
{{- $root := . -}}
{{- include "trimtab.secretEnv" (list . "TRIMTAB_TOKEN" false) }}
{{- range $names }}
{{ include "trimtab.secretEnv" (list $root (printf "TRIMTAB_%s" .) true) }}
{{- end }}
{{- if hasPrefix "s3://" .Values.objects.url }}
{{- range list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
{{ include "trimtab.secretEnv" (list $root . true) }}
{{- end }}
{{- end }}
{{- if eq .Values.database.kind "postgresql" }}
{{ include "trimtab.storeEnv" . }}
{{- end }}
- {name: HOME, value: /tmp}
{{- end -}}
{{- end -}}

{{/* Its port, its sign of life, and that it may nothing. */}}
{{- define "trimtab.agentDoor" -}}
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
{{- end -}}

{{- define "trimtab.agentMounts" -}}
- {name: trimtab-settings, mountPath: /etc/trimtab, readOnly: true}
- {name: trimtab-scratch, mountPath: /tmp}
{{- if .Values.model.existingClaim }}
- {name: trimtab-models, mountPath: {{ .Values.model.mountPath }}, readOnly: true}
{{- end }}
{{- end -}}

{{/* The right to start Jobs is one container's alone: no other of its pod sees this token. */}}
{{- define "trimtab.kubernetesMount" -}}
- {name: trimtab-kubernetes, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
{{- end -}}
{{- define "trimtab.kubernetesVolume" -}}
- name: trimtab-kubernetes
  projected:
    sources:
      - serviceAccountToken: {path: token, expirationSeconds: 3607}
      - configMap:
          name: kube-root-ca.crt
          items: [{key: ca.crt, path: ca.crt}]
      - downwardAPI:
          items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]
{{- end -}}

{{/* What vLLM's container needs to know, whoever runs it. */}}
{{- define "trimtab.engineEnv" -}}
{{- include "trimtab.secretEnv" (list . "TRIMTAB_TOKEN" false) }}
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
With SQLite all state is one folder on the claim. With PostgreSQL the home, with its socket, is each pod's own, and accepted
adapters come into it from what the pods share: the claim, or a bucket.
*/}}
{{- define "trimtab.stateMounts" -}}
{{- if eq .Values.database.kind "sqlite" -}}
- {name: trimtab-state, mountPath: {{ include "trimtab.state" . }}}
{{- else -}}
- {name: trimtab-home, mountPath: {{ include "trimtab.home" . }}}
{{- if include "trimtab.hasClaim" . }}
- {name: trimtab-state, mountPath: {{ include "trimtab.objects" . }}}
{{- end }}
{{- end }}
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
{{- end }}
- {name: trimtab-middleware, mountPath: /middleware, readOnly: true}
{{- end -}}

{{/* The arguments without which Trimtab cannot work, as a YAML list. */}}
{{- define "trimtab.engineArgs" -}}
- --middleware=serving.middleware.Trimtab
{{ include "trimtab.engineLoraArgs" . }}
{{- end -}}
{{- define "trimtab.engineLoraArgs" -}}
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
{{- include "trimtab.agentVolumes" (list . (include "trimtab.name" .) (include "trimtab.sidecarStartsJobs" .)) }}
{{- if ne .Values.mode "observe" }}
- name: trimtab-middleware
  emptyDir:
    sizeLimit: 16Mi
{{- end }}
{{- end -}}

{{/* In: (root, ConfigMap with the settings, whether it starts Jobs). Of the sidecar's pod and of the controller's. */}}
{{- define "trimtab.agentVolumes" -}}
{{- $settings := index . 1 -}}{{- $jobs := index . 2 -}}
{{- with index . 0 -}}
{{- if include "trimtab.hasClaim" . -}}
- name: trimtab-state
  persistentVolumeClaim:
    claimName: {{ include "trimtab.claim" . }}
{{- end }}
{{- if eq .Values.database.kind "postgresql" }}
- name: trimtab-home
  emptyDir: {}
{{- end }}
{{- if $jobs }}
{{ include "trimtab.kubernetesVolume" . }}
{{- end }}
- name: trimtab-settings
  configMap:
    name: {{ $settings }}
- name: trimtab-scratch
  emptyDir: {}
{{- if .Values.model.existingClaim }}
- name: trimtab-models
  persistentVolumeClaim:
    claimName: {{ .Values.model.existingClaim }}
    readOnly: true
{{- end }}
{{- end -}}
{{- end -}}

{{- define "trimtab.engineResources" -}}
{{- $resources := deepCopy .Values.engine.resources -}}
{{- if gt (int .Values.engine.gpus) 0 -}}
{{- $limits := merge (dict .Values.engine.gpuResource (int .Values.engine.gpus)) (get $resources "limits" | default dict) -}}
{{- $_ := set $resources "limits" $limits -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}

{{- define "trimtab.strategy" -}}
{{- if eq .Values.database.kind "sqlite" -}}
# The store is one SQLite file on one claim, and two pods must never write it, not even for the length of an update.
type: Recreate
{{- else -}}
type: RollingUpdate
rollingUpdate:
  maxSurge: {{ .Values.maxSurge }}
  maxUnavailable: {{ ternary 1 0 (eq (int .Values.maxSurge) 0) }}
{{- end -}}
{{- end -}}

{{/* What every vLLM of the chart is told of itself: the pod's, and that of a Job. */}}
{{- define "trimtab.engineOwnEnv" -}}
- {name: VLLM_NO_USAGE_STATS, value: "1"}
- {name: DO_NOT_TRACK, value: "1"}
- {name: HF_HUB_OFFLINE, value: "1"}
{{- if eq (int .Values.engine.gpus) 0 }}
- {name: VLLM_CPU_KVCACHE_SPACE, value: "1"}
- {name: VLLM_CPU_OMP_THREADS_BIND, value: nobind}
- {name: GOMP_SPINCOUNT, value: "20000"}
- {name: VLLM_ENABLE_V1_MULTIPROCESSING, value: "0"}
{{- end }}
# What is compiled and cached goes below HOME; the user has no name in the image, so it is told one.
- {name: HOME, value: /cache}
- {name: USER, value: trimtab}
- {name: PYTHONDONTWRITEBYTECODE, value: "1"}
{{- with .Values.engine.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* How every vLLM of the chart is started, but for where it listens and for the middleware. */}}
{{- define "trimtab.engineModelArgs" -}}
- --model={{ .Values.model.mountPath }}/{{ .Values.model.path }}
- --served-model-name={{ dig "engine" "base_model" "base" .Values.agent.settings }}
{{- end -}}
{{- define "trimtab.engineSizeArgs" -}}
- --max-model-len={{ .Values.engine.maxModelLen }}
- --max-num-seqs={{ .Values.engine.maxNumSeqs }}
{{- if eq (int .Values.engine.gpus) 0 }}
# The engine computes itself: a worker process of its own would leave it spinning on a core meanwhile.
- --enforce-eager
- --distributed-executor-backend=uni
{{- else if gt (int .Values.engine.gpus) 1 }}
- --tensor-parallel-size={{ .Values.engine.gpus }}
{{- end }}
{{- range .Values.engine.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end -}}

{{/*
The rest of a Job's pod (retrain.kubernetes.pod): a vLLM of its own, in which champion and challenger answer the contest,
so that production is left alone. It listens inside the pod only and needs no middleware.
*/}}
{{- define "trimtab.jobPod" -}}
enableServiceLinks: false
securityContext: {{- include "trimtab.podSecurity" . | nindent 2 }}
{{- with .Values.engine.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- range $key := list "imagePullSecrets" "nodeSelector" "tolerations" }}
{{- with get $.Values $key }}
{{ $key }}: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
initContainers:
  - name: vllm
    restartPolicy: Always
    image: {{ include "trimtab.image" (list . .Values.engine.image) }}
    command: [python3, -m, vllm.entrypoints.openai.api_server]
    args:
      {{- include "trimtab.engineModelArgs" . | nindent 6 }}
      - --host=127.0.0.1
      - --port=8000
      {{- include "trimtab.engineLoraArgs" . | nindent 6 }}
      {{- include "trimtab.engineSizeArgs" . | nindent 6 }}
    env:
      - {name: VLLM_ALLOW_RUNTIME_LORA_UPDATING, value: "True"}
      {{- include "trimtab.engineOwnEnv" . | nindent 6 }}
    startupProbe:
      exec:
        command: [python3, -c, "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health', timeout=5)"]
      periodSeconds: 5
      timeoutSeconds: 10
      failureThreshold: 240
    securityContext: {{- include "trimtab.lockdown" . | nindent 6 }}
    resources: {{- include "trimtab.engineResources" . | nindent 6 }}
    volumeMounts:
      # The launcher's own volume: there the job puts the challenger.
      - {name: home, mountPath: {{ include "trimtab.home" . }}, readOnly: true}
      - {name: trimtab-models, mountPath: {{ .Values.model.mountPath }}, readOnly: true}
      - {name: cache, mountPath: /cache}
      - {name: engine-tmp, mountPath: /tmp}
      - {name: shared-memory, mountPath: /dev/shm}
volumes:
  - name: trimtab-models
    persistentVolumeClaim:
      claimName: {{ .Values.model.existingClaim }}
      readOnly: true
  {{- include "trimtab.engineVolumes" . | nindent 2 }}
{{- end -}}

{{- define "trimtab.engineVolumes" -}}
- name: cache
  emptyDir:
    sizeLimit: {{ .Values.engine.cacheSize }}
- name: engine-tmp
  emptyDir: {}
- name: shared-memory
  emptyDir:
    medium: Memory
    sizeLimit: {{ .Values.engine.sharedMemory }}
{{- end -}}
