;; Sends every message back unchanged, kind and all.
;;
;; The interface's canonical ABI by hand: a handler is known by the number of its request's handle, which is unique while the
;; handler lives; a table in memory says which connection it has. Arguments are put into memory by `cabi_realloc`, a pointer
;; that every call sets back: nothing outlives a call.
(module
  (import "waterspout:websocket/handshake@0.1.0" "[method]request.origin-allowed"
    (func $origin-allowed (param i32 i32 i32) (result i32)))
  (import "waterspout:websocket/handshake@0.1.0" "[resource-drop]request" (func $drop-request (param i32)))
  (import "waterspout:websocket/connection@0.1.0" "[method]connection.write-message"
    (func $write-message (param $connection i32) (param $kind i32) (param $at i32) (param $bytes i32) (param $result i32)))
  (import "waterspout:websocket/connection@0.1.0" "[method]connection.flush"
    (func $flush (param $connection i32) (param $result i32)))
  (import "waterspout:websocket/connection@0.1.0" "[method]connection.close"
    (func $close (param $connection i32) (param i32 i32) (param i32 i32 i32) (param $result i32)))
  (import "waterspout:websocket/connection@0.1.0" "[resource-drop]connection" (func $drop-connection (param i32)))
  (import "[export]waterspout:websocket/handler@0.1.0" "[resource-new]handler"
    (func $new-handler (param i32) (result i32)))

  ;; 0: results of imports and exports; 64: the reason; 1024: the connection of each handler, 65,536 of four bytes; then arguments.
  (memory (export "memory") 6)
  (global $arguments i32 (i32.const 0x50000))
  (global $free (mut i32) (i32.const 0x50000))
  (data (i32.const 64) "the echo could not be sent")

  (func $slot (param $handler i32) (result i32)
    (if (i32.ge_u (local.get $handler) (i32.const 65536)) (then unreachable))
    (i32.add (i32.const 1024) (i32.shl (local.get $handler) (i32.const 2))))

  ;; All arguments of the call have been used.
  (func $release (global.set $free (global.get $arguments)))

  (func (export "cabi_realloc") (param $old i32) (param $old-bytes i32) (param $align i32) (param $bytes i32) (result i32)
    (local $at i32)
    (local $end i32)
    (local.set $at
      (i32.and
        (i32.add (global.get $free) (i32.sub (local.get $align) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get $align))))
    (local.set $end (i32.add (local.get $at) (local.get $bytes)))
    (if (i32.lt_u (local.get $end) (local.get $at)) (then unreachable))
    (if (i32.gt_u (local.get $end) (i32.shl (memory.size) (i32.const 16)))
      (then
        (if (i32.eq
              (memory.grow
                (i32.shr_u
                  (i32.add
                    (i32.sub (local.get $end) (i32.shl (memory.size) (i32.const 16)))
                    (i32.const 0xffff))
                  (i32.const 16)))
              (i32.const -1))
          (then unreachable))))
    (memory.copy (local.get $at) (local.get $old) (local.get $old-bytes))
    (global.set $free (local.get $end))
    (local.get $at))

  (func (export "waterspout:websocket/handler@0.1.0#[constructor]handler") (param $request i32) (result i32)
    (i32.store (call $slot (local.get $request)) (i32.const 0))
    (call $new-handler (local.get $request)))

  (func (export "waterspout:websocket/handler@0.1.0#[dtor]handler") (param $handler i32)
    (if (i32.load (call $slot (local.get $handler)))
      (then (call $drop-connection (i32.load (call $slot (local.get $handler))))))
    (call $drop-request (local.get $handler)))

  (func (export "waterspout:websocket/handler@0.1.0#[method]handler.prepare") (param $handler i32) (result i32)
    (i32.store8 (i32.const 0) (i32.const 0))
    (i32.const 0))

  ;; The host's default: the same host and port, or the operator's list.
  (func (export "waterspout:websocket/handler@0.1.0#[method]handler.check-origin")
    (param $handler i32) (param $origin i32) (param $bytes i32) (result i32)
    (call $origin-allowed (local.get $handler) (local.get $origin) (local.get $bytes))
    (call $release))

  (func (export "waterspout:websocket/handler@0.1.0#[method]handler.select-subprotocol")
    (param $handler i32) (param i32 i32) (result i32)
    (call $release)
    (i32.store8 (i32.const 0) (i32.const 0))
    (i32.const 0))

  ;; Yes, with the host's defaults.
  (func (export "waterspout:websocket/handler@0.1.0#[method]handler.get-compression-options") (param $handler i32) (result i32)
    (i64.store (i32.const 0) (i64.const 1))
    (i32.const 0))

  (func (export "waterspout:websocket/handler@0.1.0#[method]handler.open") (param $handler i32) (param $connection i32)
    (i32.store (call $slot (local.get $handler)) (local.get $connection)))

  ;; Whether the last write succeeded.
  (func $written (result i32) (i32.eqz (i32.load8_u (i32.const 0))))
  ;; Whether the last write failed because the queue was full.
  (func $full (result i32) (i32.eq (i32.load8_u (i32.const 4)) (i32.const 1)))

  (func (export "waterspout:websocket/handler@0.1.0#[method]handler.on-message")
    (param $handler i32) (param $kind i32) (param $at i32) (param $bytes i32)
    (local $connection i32)
    (local.set $connection (i32.load (call $slot (local.get $handler))))
    (block $done
      (call $write-message
        (local.get $connection) (local.get $kind) (local.get $at) (local.get $bytes) (i32.const 0))
      (br_if $done (call $written))
      (if (call $full)
        (then
          ;; The peer reads more slowly than it writes: wait for it, then try once more.
          (call $flush (local.get $connection) (i32.const 0))
          (call $write-message
            (local.get $connection) (local.get $kind) (local.get $at) (local.get $bytes) (i32.const 0))
          (br_if $done (call $written))))
      ;; 1008: an echo that cannot be sent is not passed over. On a closed connection this does nothing.
      (call $close (local.get $connection)
        (i32.const 1) (i32.const 1008) (i32.const 1) (i32.const 64) (i32.const 26) (i32.const 0)))
    (call $release))

  (func (export "waterspout:websocket/handler@0.1.0#[method]handler.on-ping") (param i32 i32 i32) (call $release))
  (func (export "waterspout:websocket/handler@0.1.0#[method]handler.on-pong") (param i32 i32 i32) (call $release))
  (func (export "waterspout:websocket/handler@0.1.0#[method]handler.on-writable") (param i32))
  (func (export "waterspout:websocket/handler@0.1.0#[method]handler.on-timer") (param i32 i32))
  (func (export "waterspout:websocket/handler@0.1.0#[method]handler.on-client-event")
    (param i32) (param i32 i32) (param i32 i32 i32 i32 i32)
    (call $release))
  (func (export "waterspout:websocket/handler@0.1.0#[method]handler.on-close") (param i32) (param i32 i32 i32 i32)
    (call $release))

  ;; There is nothing to hand over: an empty state.
  (func (export "waterspout:websocket/handler@0.1.0#[method]handler.suspend") (param $handler i32) (result i32)
    (i32.store8 (i32.const 0) (i32.const 1))
    (i32.store (i32.const 4) (i32.const 0))
    (i32.store (i32.const 8) (i32.const 0))
    (i32.const 0))

  (func (export "waterspout:websocket/handler@0.1.0#[static]handler.resume")
    (param $request i32) (param $connection i32) (param i32 i32) (result i32)
    (call $release)
    (i32.store (call $slot (local.get $request)) (local.get $connection))
    (i32.store (i32.const 4) (call $new-handler (local.get $request)))
    (i32.store8 (i32.const 0) (i32.const 0))
    (i32.const 0)))
